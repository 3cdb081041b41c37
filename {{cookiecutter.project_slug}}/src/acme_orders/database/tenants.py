# feature: row, rls, schema
"""The registry of tenants; only the owner of the tables may write it."""

from uuid import UUID

from acme_orders.database import driver
from acme_orders.database.migration_session import migration_session
from acme_orders.errors import ConfigurationError

_LOCK_TIMEOUT = 2.0  # seconds


class Tenants:
    """Registers tenants; blocking, for the command line.

    Args:
        url: of the role that owns the tables.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, tenant: UUID, name: str) -> None:
        """Register a tenant.

        Raises:
            ConfigurationError: the id or the name is taken, or the name is empty.
        """
        with migration_session(self._url, _LOCK_TIMEOUT) as session:
            try:
                session.rows("INSERT INTO tenants (id, name) VALUES (%s, %s)", (str(tenant), name))
            except driver.DriverError as error:
                raise ConfigurationError(
                    f"tenant {name!r} ({tenant}): {str(error).strip()}; "
                    "`tenants list` shows those there are, `migrate up` makes the registry"
                ) from error

    def all(self) -> list[tuple[UUID, str]]:
        """Id and name of every tenant, the oldest first."""
        with migration_session(self._url, _LOCK_TIMEOUT) as session:
            rows = session.rows("SELECT id::text, name FROM tenants ORDER BY created_at, id")
        return [(UUID(identity), name) for identity, name in rows]
