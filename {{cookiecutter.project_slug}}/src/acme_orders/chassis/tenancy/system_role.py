# feature: rls
"""The role of work for all tenants at once, which the policies let through."""

from collections.abc import Callable
from typing import Any

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
)

SYSTEM_ROLE = "acme_orders_system"
_HIDDEN = """
SELECT pg_class.oid::regclass::text FROM pg_class
WHERE pg_class.oid = to_regclass(%s) AND relrowsecurity AND NOT EXISTS (
    SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive AND polcmd IN ('*', 'w')
        AND to_regrole(%s) = ANY (polroles) AND pg_get_expr(polqual, polrelid) = 'true'
)
"""


def refuse_hidden(rows: Callable[..., list[Any]], table: str) -> None:
    """Check that the policies of a table let this role through.

    Raises:
        ConfigurationError: rows would be passed over in silence.
    """
    for (name,) in rows(_HIDDEN, (table, SYSTEM_ROLE)):
        raise ConfigurationError(
            f"row-level security hides rows of {name} from {SYSTEM_ROLE}, which works for all "
            f"tenants: CREATE POLICY system ON {name} TO {SYSTEM_ROLE} USING (true)"
        )


async def verify_system_role(lease: Lease) -> None:
    """Check that whoever logs in may act as this role.

    Raises:
        ConfigurationError: otherwise the first to notice would be the relay, when it runs.
        DatabaseUnavailable: PostgreSQL went away.
    """
    try:
        await lease.send(f"BEGIN; SET LOCAL ROLE {SYSTEM_ROLE}; ROLLBACK")
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        raise ConfigurationError(
            f"the relay works for all tenants and has to act as {SYSTEM_ROLE}: {error}; "
            f"`GRANT {SYSTEM_ROLE} TO …` whoever logs in with DATABASE_URL"
        ) from error
