# feature: rls
"""The role of work for all tenants at once, which the policies let through."""

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
)

SYSTEM_ROLE = "acme_orders_system"


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
