"""Opens sessions in which the service can work, and explains why there are none."""

import asyncio
from contextlib import suppress
from typing import Any

from acme_orders.chassis.database import driver, session
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.database.failures import translate
from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    ServiceError,
)

OLDEST_SERVER = 14  # the first with client_connection_check_interval


class Sessions:
    """Those of one process, on one server.

    Args:
        settings: where the database is, and how long it may take.
        role: that sessions act as, whoever logged in; None for whoever that is.
        application: name that PostgreSQL shows for them.

    Raises:
        ConfigurationError: the address cannot be read.
    """

    def __init__(self, settings: DatabaseSettings, *, role: str | None, application: str) -> None:
        self._settings, self._role, self._application = settings, role, application
        self._address = DatabaseAddress.parse(settings.database_url)
        self._connect_timeout = min(settings.connect_timeout, self._address.connect_timeout)
        self._session: dict[str, str] = {
            # Outside a transaction a session can only read: PostgreSQL refuses a stray write.
            "default_transaction_read_only": "on",
            # Ends the statement of a client that has gone; its locks would outlive it.
            "client_connection_check_interval": "1000",
            # For reads outside a transaction; a transaction sets its own.
            "statement_timeout": f"{settings.statement_timeout * 1000:.0f}",
        }
        if role is not None:
            self._session["role"] = role

    async def open(self) -> Any:
        """A new connection.

        Raises:
            DatabaseUnavailable: there is none in time.
        """
        parameters = self._address.parameters(self._session, application=self._application)
        return await self._opened(parameters, self._address.first(self._session))

    async def _opened(self, parameters: dict[str, str], first: str) -> Any:
        """A connection on which `first` has run.

        Raises:
            DatabaseUnavailable: there is none in time.
        """
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await driver.open_connection(**parameters)
                try:
                    async with connection.cursor() as cursor:
                        await cursor.execute(first)
                except BaseException:
                    driver.discard(connection)
                    raise
                return connection
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no new connection within {self._connect_timeout:g} s (CONNECT_TIMEOUT)"
            ) from error
        except (driver.DriverError, OSError) as error:
            failure = translate(error, in_transaction=False, broken=True)
            failure.args = error.args = (self._address.redact(str(failure)),)
            raise failure from error

    async def explained(self, failure: DatabaseUnavailable) -> ServiceError:
        """Why no session can be opened.

        It asks in a session without our settings: whoever refuses a connection says so in a text
        only, in the language of the server.
        """
        place = self._address.place
        if "startup parameter" in str(failure) and not self._address.pooler:
            return ConfigurationError(
                f"what answers at {place} (DATABASE_URL) is a pooler ({failure}): say which, by "
                "?pooler=session or ?pooler=transaction at the end of the address"
            )
        with suppress(DatabaseError):
            parameters = self._address.parameters({}) | {"options": ""}
            connection = await self._opened(parameters, "SELECT 1")
            try:
                lease = Lease(connection, asyncio.current_task(), self._settings.statement_timeout)
                await self.verify(lease)
                if self._role is not None:
                    await self._act_as(lease, self._role)
            finally:
                driver.discard(connection)
        return DatabaseUnavailable(
            f"cannot reach PostgreSQL at {place} (DATABASE_URL): {failure}; "
            "start it or correct the address"
        )

    async def _act_as(self, lease: Lease, role: str) -> None:
        try:
            await lease.send(f'SET ROLE "{role}"')
        except DatabaseUnavailable:
            raise
        except DatabaseError as error:
            raise ConfigurationError(
                f"whoever logs in to PostgreSQL at {self._address.place} (DATABASE_URL) has to act "
                f"as {role}: {error}; `migrate up` makes it, then `GRANT {role} TO …`"
            ) from error

    async def verify(self, lease: Lease) -> None:
        """Check that PostgreSQL can be worked with.

        Raises:
            ConfigurationError: it is too old, or sessions of a pooler do not begin as they have to.
        """
        ((number,),) = await lease.rows("SHOW server_version_num")
        if (version := int(number) // 10_000) < OLDEST_SERVER:
            raise ConfigurationError(
                f"PostgreSQL at {self._address.place} (DATABASE_URL) is version {version}: "
                f"{OLDEST_SERVER} or newer is needed, so that the query of a client that is gone "
                "ends"
            )
        if self._address.pooler == "transaction":
            await self._verify_standing(lease)

    async def _verify_standing(self, lease: Lease) -> None:
        wanted = session.standing(self._session)
        found = dict(await lease.rows(session.STANDING))
        if wrong := [name for name, value in wanted.items() if found.get(name) != value]:
            ((login, database),) = await lease.rows("SELECT session_user, current_database()")
            raise ConfigurationError(
                f"sessions behind the pooler at {self._address.place} (DATABASE_URL) do not begin "
                f"with our {', '.join(wrong)}: connect to PostgreSQL without the pooler, run "
                f"{session.alterations(login, database, wanted)} and then RECONNECT in the console "
                "of the pooler"
            )
