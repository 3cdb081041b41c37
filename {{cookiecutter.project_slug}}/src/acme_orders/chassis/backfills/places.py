"""Where the rows of a backfill are, and who sees all of them."""

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE  # feature: rls

_BEGIN = "SET LOCAL search_path = public"  # feature: tenancy=none, row
_BEGIN = f"SET LOCAL search_path = public; SET LOCAL ROLE {SYSTEM_ROLE}"  # feature: rls


def places(rows: Rows, backfill: Backfill) -> list[str]:  # noqa: ARG001
    """The schemas that have the table."""
    return [SHARED]


def all_places(rows: Rows) -> list[str]:  # noqa: ARG001
    """The schemas in which runs are written down."""
    return [SHARED]


def entered(place: str) -> str:  # noqa: ARG001
    """What begins a transaction there; RESET ROLE ends it for what is written of the run."""
    return _BEGIN
