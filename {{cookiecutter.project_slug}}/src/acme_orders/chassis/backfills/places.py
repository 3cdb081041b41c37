"""Where the rows of a backfill are, and who sees all of them."""

from collections.abc import Callable
from typing import Any

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.errors import ConfigurationError  # feature: rls
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE  # feature: rls

SHARED = "public"
_BEGIN = "SET LOCAL search_path = public"
# feature: rls {
_BEGIN += f"; SET LOCAL ROLE {SYSTEM_ROLE}"
_HIDDEN = """
SELECT pg_class.oid::regclass::text FROM pg_class
WHERE pg_class.oid = to_regclass(%s) AND relrowsecurity AND NOT EXISTS (
    SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive AND polcmd IN ('*', 'w')
        AND to_regrole(%s) = ANY (polroles) AND pg_get_expr(polqual, polrelid) = 'true'
)
"""
# feature: rls }


def places(rows: Callable[..., list[Any]], backfill: Backfill) -> list[str]:
    """The schemas that have the table.

    Raises:
        ConfigurationError: policies would hide rows of it.  # feature: rls
    """
    # feature: rls {
    for (table,) in rows(_HIDDEN, (backfill.table, SYSTEM_ROLE)):
        raise ConfigurationError(
            f"row-level security hides rows of {table} from {SYSTEM_ROLE}, which works for all "
            f"tenants: CREATE POLICY system ON {table} TO {SYSTEM_ROLE} USING (true)"
        )
    # feature: rls }
    return [SHARED]


def all_places(rows: Callable[..., list[Any]]) -> list[str]:  # noqa: ARG001
    """The schemas in which runs are written down."""
    return [SHARED]


def entered(place: str) -> str:  # noqa: ARG001
    """What begins a transaction there; RESET ROLE ends it for what is written of the run."""
    return _BEGIN
