# feature: row, rls, schema
"""The registry of tenants; only the owner of the tables may write it."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from acme_orders.chassis.database import driver
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.session import (
    MigrationSession,
    migration_session,
)

_REFUSED = {
    "tenants_pkey": "this id is taken; `tenants list` shows by whom",
    "tenants_name_key": "this name is taken; `tenants list` shows by whom",
    "tenants_name_check": "a name is not empty",
}


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
            ConfigurationError: the id or the name is taken, the name is empty, or there is no
                registry.
        """
        with self._registry() as session:
            try:
                session.rows("INSERT INTO tenants (id, name) VALUES (%s, %s)", (str(tenant), name))
            except driver.DriverError as error:
                if (why := _REFUSED.get(driver.constraint(error) or "")) is None:
                    raise
                raise ConfigurationError(f"tenant {name!r} ({tenant}): {why}") from error

    def all(self) -> list[tuple[UUID, str]]:
        """Id and name of every tenant, the oldest first.

        Raises:
            ConfigurationError: there is no registry.
        """
        with self._registry() as session:
            rows = session.rows("SELECT id::text, name FROM tenants ORDER BY created_at, id")
        return [(UUID(identity), name) for identity, name in rows]

    def named(self, name: str) -> UUID:
        """The id of the tenant with this id, or else with this name.

        Raises:
            ConfigurationError: there is none.
        """
        known = self.all()
        ids = {str(identity): identity for identity, _ in known}
        names = {each: identity for identity, each in known}
        if (found := ids.get(name.lower()) or names.get(name)) is None:
            raise ConfigurationError(f"there is no tenant {name!r}: `tenants list` shows them")
        return found

    def only(self) -> UUID:
        """The id of the tenant, where there is one.

        Raises:
            ConfigurationError: there is none, or one of several has to be named.
        """
        known = self.all()
        if not known:
            raise ConfigurationError("there is no tenant yet: `tenants add NAME` registers one")
        if len(known) > 1:
            raise ConfigurationError(
                f"there are {len(known)} tenants: say --header tenant=ID; `tenants list` shows them"
            )
        return known[0][0]

    @contextmanager
    def _registry(self) -> Iterator[MigrationSession]:
        with migration_session(self._url) as session:
            try:
                yield session
            except driver.DriverError as error:
                raise ConfigurationError(
                    f"the registry of tenants: {str(error).strip().partition(chr(10))[0]}; "
                    "`migrate up` makes it, and the same role (MIGRATION_DATABASE_URL) may write it"
                ) from error
