"""In which schemas rows are deleted, and as whom."""

from acme_orders.chassis.backfills import places
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED


def schemas(rows: Rows) -> list[str]:  # noqa: ARG001
    """Those that may have the table of a policy."""
    return [SHARED]


def entered(place: str) -> str:
    """What begins a transaction there: it may do what the service may do, and no more."""
    return f"SET LOCAL ROLE {SERVICE_ROLE}; {places.entered(place)}"
