"""Who holds which connection: one task each, for a block, and never two tasks at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial

from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.pool import Pool, Pooled
from acme_orders.chassis.database.sessions import Sessions
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.share import Kept, Share
from acme_orders.chassis.errors import (
    DatabaseUnavailable,
    PoolExhausted,
    TransactionMisused,
)
from acme_orders.chassis.observability.metrics import Metrics


class Connections:
    """The connections of one process.

    Args:
        sessions: opens one.
        settings: how many there may be, and for how long.
        metrics: where use, waits and time-outs are counted.
    """

    def __init__(self, sessions: Sessions, settings: DatabaseSettings, metrics: Metrics) -> None:
        self._sessions, self.settings, self._metrics = sessions, settings, metrics
        self._pool = Pool(
            sessions.open,
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
                await self._sessions.verify(lease)
        except DatabaseUnavailable as error:
            raise await self._sessions.explained(error) from error

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
            failure, full = self._pool.last_failure, self._pool.full
            raise PoolExhausted(
                f"no connection within {self.settings.acquire_timeout:g} s (ACQUIRE_TIMEOUT): "
                + (f"all {self._pool.size} (POOL_SIZE) are in use, or " if full else "")
                + "PostgreSQL does not answer"
                + (f"; it said: {failure}" if failure else "")
            ) from error
        finally:
            metrics.db_connection_wait.observe(time.perf_counter() - started)
