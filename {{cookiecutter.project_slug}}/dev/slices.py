"""Refuses what hangs from no slice, and models without a table: `python -m dev.slices`."""

import sys

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import migrations
from acme_orders.chassis.migrations.tables import tables_of
from acme_orders.service import SERVICE

from readiness.strays import strays, without_table


def main() -> int:
    """Print what was found; status 1 if it is anything."""
    try:
        found = strays(SERVICE) + without_table(tables_of(migrations()))
    except ConfigurationError as error:
        found = [str(error)]
    for line in found or [
        "each part of the business hangs from a slice, and each model has a table"
    ]:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
