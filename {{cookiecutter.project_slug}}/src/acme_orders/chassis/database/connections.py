"""Who holds which connection: one task each, for a block, and never two tasks at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

from acme_orders.chassis.database import driver, session
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.database.failures import translate
from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.pool import Pool, Pooled
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.share import Kept, Share
from acme_orders.chassis.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    PoolExhausted,
    ServiceError,
    TransactionMisused,
)
from acme_orders.chassis.observability.metrics import Metrics

OLDEST_SERVER = 14  # the first with client_connection_check_interval


class Connections:
    """The connections of one process.

    Args:
        settings: where the database is, and how many connections there may be, for how long.
        role: that sessions act as, whoever logged in; None for whoever that is.
        application: name that PostgreSQL shows for them.
        metrics: where use, waits and time-outs are counted.

    Raises:
        ConfigurationError: the address cannot be read.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        role: str | None,
        application: str,
        metrics: Metrics,
    ) -> None:
        self.settings, self._metrics = settings, metrics
        self._address, self._application = DatabaseAddress.parse(settings.database_url), application
        self._connect_timeout = min(settings.connect_timeout, self._address.connect_timeout)
        self._role = role
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
        self._pool = Pool(
            self._connect,
            size=settings.connections,
            max_age=settings.connection_max_age,
            metrics=metrics,
        )
        self._lease: ContextVar[Lease | None] = ContextVar("lease", default=None)
        self._kept: ContextVar[Kept | None] = ContextVar("kept", default=None)

    async def open(self) -> None:
        """Connect once, so that a wrong URL or a server that is too old is known at start.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer or refuses us.
            ConfigurationError: it is too old, or does not let us act as the role.
        """
        try:
            async with self.lease() as lease:
                version = await _version(lease)
        except DatabaseUnavailable as error:
            raise await self._explained(error) from error
        self._verify_version(version)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """This task's connection: the one it holds, or one of the pool until the block ends.

        Raises:
            PoolExhausted: none became free within the acquire timeout.
            DatabaseUnavailable: there is none, and a new one cannot be opened.
        """
        if held := self.held():
            yield held
            return
        kept = self._kept.get()
        share = kept.share if kept else None
        pooled = await self._acquire(share)
        lease = Lease(pooled.connection, asyncio.current_task(), self.settings.statement_timeout)
        release = partial(self._release, lease, pooled, share, time.perf_counter())
        token = self._lease.set(lease)
        if kept and kept.keep(lease, release):
            yield lease
            return
        try:
            yield lease
        finally:
            release()
            with suppress(ValueError):
                self._lease.reset(token)

    @contextmanager
    def sharing(self, share: Share) -> Iterator[Kept]:
        """Do the work of the block on connections of a share, and mostly on one of them."""
        kept = Kept(share)
        token = self._kept.set(kept)
        try:
            yield kept
        finally:
            kept.give_back(anyway=True)
            self._kept.reset(token)

    def _release(self, lease: Lease, pooled: Pooled, share: Share | None, began: float) -> None:
        # A generator that was abandoned is closed by a task of the event loop, which can't
        # reset the variable of this one: the lease must not be found there any more.
        lease.owner = None
        self._pool.release(pooled)
        if share:
            share.give_back()
        self._metrics.db_connection_use.observe(time.perf_counter() - began)

    def held(self) -> Lease | None:
        """The lease of this very task.

        Raises:
            TransactionMisused: the parent task has a transaction open. peewee-async would run the
                statement inside it, or in whatever transaction its connection serves next.
        """
        lease = self._lease.get()
        if lease is None or lease.owner is asyncio.current_task():
            return lease
        if lease.transaction is not None:
            self._metrics.db_guard_violations.labels("child_task").inc()
            raise TransactionMisused(
                f"a child task used the database inside transaction {lease.transaction.name!r} of "
                "its parent: await it in the same task, without gather or create_task"
            )
        return None

    async def _acquire(self, share: Share | None) -> Pooled:
        if share is None:
            return await self._from_pool()
        await share.take()
        try:
            return await self._from_pool()
        except BaseException:
            share.give_back()
            raise

    async def _from_pool(self) -> Pooled:
        metrics, started = self._metrics, time.perf_counter()
        try:
            async with asyncio.timeout(self.settings.acquire_timeout):
                return await self._pool.acquire()
        except TimeoutError as error:
            metrics.db_connection_timeouts.inc()
            failure = self._pool.last_failure
            raise PoolExhausted(
                f"no connection within {self.settings.acquire_timeout:g} s (ACQUIRE_TIMEOUT): "
                f"all {self._pool.size} (POOL_SIZE) are in use, or PostgreSQL does not answer"
                + (f"; it said: {failure}" if failure else "")
            ) from error
        finally:
            metrics.db_connection_wait.observe(time.perf_counter() - started)

    async def _connect(self) -> Any:
        parameters = self._address.parameters(self._session, application=self._application)
        return await self._opened(parameters, session.PIN)

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

    async def _explained(self, failure: DatabaseUnavailable) -> ServiceError:
        """Why no session can be opened.

        It asks in a session without our settings: whoever refuses a connection says so in a text
        only, in the language of the server.
        """
        place = self._address.place
        with suppress(DatabaseError):
            parameters = self._address.parameters({}) | {"options": ""}
            connection = await self._opened(parameters, "SELECT 1")
            try:
                lease = Lease(connection, asyncio.current_task(), self.settings.statement_timeout)
                self._verify_version(await _version(lease))
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

    def _verify_version(self, version: int) -> None:
        if version < OLDEST_SERVER:
            raise ConfigurationError(
                f"PostgreSQL at {self._address.place} (DATABASE_URL) is version {version}: "
                f"{OLDEST_SERVER} or newer is needed, so that the query of a client that is gone "
                "ends"
            )


async def _version(lease: Lease) -> int:
    ((number,),) = await lease.rows("SHOW server_version_num")
    return int(number) // 10_000
