"""A bounded pool whose connections belong to one task each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from acme_orders.database import driver
from acme_orders.database.failures import translate
from acme_orders.database.unit_of_work import Transaction
from acme_orders.errors import (
    DatabaseUnavailable,
    StatementTimeout,
    TransactionMisused,
)
from acme_orders.observability.metrics import Metrics

Fetch = Callable[[Any], Awaitable[Any]]

# Outside a transaction a session can only read, so PostgreSQL itself refuses a stray write. The
# second option ends the query of a client that has gone; without it, its locks would outlive it.
_SESSION = "-c default_transaction_read_only=on -c client_connection_check_interval=1000"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds: for getting a connection, and for every transaction."""

    acquire: float = 5
    connect: float = 10
    statement: float = 30
    lock: float = 5
    idle_in_transaction: float = 60


@dataclass(slots=True)
class Lease:
    """A connection while a task holds it."""

    connection: Any
    owner: asyncio.Task[Any] | None
    transaction: Transaction | None = None

    @property
    def broken(self) -> bool:
        """Whether the connection is of no use any more."""
        return bool(self.connection.closed)

    async def send(
        self, sql: str, parameters: Sequence[Any] = (), fetch: Fetch | None = None
    ) -> Any:
        """Run one statement; returns what `fetch` makes of the cursor, or the command tag.

        Raises:
            DatabaseError: whichever kind `failures.translate` finds it to be.
        """
        task = asyncio.current_task()
        cancellations = task.cancelling() if task else 0
        try:
            async with self.connection.cursor() as cursor:
                await cursor.execute(sql, parameters or None)
                return await fetch(cursor) if fetch else driver.command_tag(cursor)
        except asyncio.CancelledError as error:
            # aiopg turns a statement timeout into a cancellation that nobody asked for: a
            # TaskGroup would end as if all were well, and the work would be lost.
            if self.broken or task is None or task.cancelling() > cancellations:
                raise
            raise StatementTimeout from error
        except (driver.DriverError, OSError) as error:
            inside = self.transaction is not None
            raise translate(error, in_transaction=inside, broken=self.broken) from error


class Connections:
    """The pool of one process.

    Args:
        url: `postgresql://…`.
        size: most connections.
        timeouts: limits in seconds.
        metrics: where use, waits and time-outs are counted.
    """

    def __init__(self, url: str, *, size: int, timeouts: Timeouts, metrics: Metrics) -> None:
        self.size, self.timeouts, self._metrics = size, timeouts, metrics
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self._pool = driver.Pool(
            url,
            size=size,
            connect_timeout=timeouts.connect,
            statement_timeout=timeouts.statement,
            options=_SESSION,
        )
        self._lease: ContextVar[Lease | None] = ContextVar("lease", default=None)
        metrics.db_connections_max.set(size)

    async def open(self) -> None:
        """Connect once, so that a wrong URL is known at start.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer or refuses us.
        """
        try:
            async with asyncio.timeout(self.timeouts.connect):
                await self._pool.connect()
        except (driver.DriverError, OSError) as error:
            why = translate(error, in_transaction=False, broken=True)
            raise DatabaseUnavailable(
                f"cannot reach PostgreSQL at {self._where} (DATABASE_URL): {why}; "
                "start it or correct the address"
            ) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """This task's connection: the one it holds, or one of the pool until the block ends.

        Raises:
            DatabaseUnavailable: none became free within the acquire timeout.
        """
        if held := self.held():
            yield held
            return
        lease = Lease(await self._acquire(), asyncio.current_task())
        token = self._lease.set(lease)
        try:
            yield lease
        finally:
            self._lease.reset(token)
            self._metrics.db_connections.dec()
            await self._pool.release(lease.connection)

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
            raise TransactionMisused(
                f"a child task used the database inside transaction {lease.transaction.name!r} of "
                "its parent: await it in the same task, without gather or create_task"
            )
        return None

    async def _acquire(self) -> Any:
        metrics, started = self._metrics, time.perf_counter()
        metrics.db_connections_pending.inc()
        try:
            async with asyncio.timeout(self.timeouts.acquire):
                connection = await self._pool.acquire()
        except TimeoutError as error:
            metrics.db_connection_timeouts.inc()
            raise DatabaseUnavailable(
                f"no connection within {self.timeouts.acquire:g} s (ACQUIRE_TIMEOUT): "
                f"all {self.size} (POOL_SIZE) are in use, or PostgreSQL does not answer"
            ) from error
        except (driver.DriverError, OSError) as error:
            raise translate(error, in_transaction=False, broken=True) from error
        finally:
            metrics.db_connections_pending.dec()
            metrics.db_connection_wait.observe(time.perf_counter() - started)
        metrics.db_connections.inc()
        return connection
