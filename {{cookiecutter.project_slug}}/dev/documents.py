"""Refuses stale documents in `contracts/`, and what breaks others: `python -m dev.documents`."""

import sys
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.service import SERVICE

from readiness.contracts.documents import KeptDocuments, documents_of


def main() -> int:
    """Print what was found; status 1 if it is anything."""
    try:
        found = list(KeptDocuments(Path("contracts")).findings(documents_of(SERVICE)))
    except ConfigurationError as error:
        found = [str(error)]
    for line in found or ["what others send and read is what they rely on"]:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
