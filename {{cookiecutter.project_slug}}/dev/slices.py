"""Refuses what stands in the package and hangs from no slice: `python -m dev.slices`."""

import sys

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.service import SERVICE

from readiness.strays import strays


def main() -> int:
    """Print what was found; status 1 if it is anything."""
    try:
        found = strays(SERVICE)
    except ConfigurationError as error:
        found = [str(error)]
    for line in found or ["each part of the business hangs from a slice"]:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
