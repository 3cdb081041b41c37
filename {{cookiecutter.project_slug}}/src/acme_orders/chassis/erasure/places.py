"""In which schemas the data of a person is looked for."""

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED


def schemas_of(rows: Rows, whose: str) -> list[str]:  # noqa: ARG001
    """Those that may have some."""
    return [SHARED]
