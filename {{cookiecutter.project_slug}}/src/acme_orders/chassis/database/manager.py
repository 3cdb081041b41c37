"""The async Peewee manager: every statement, transaction and connection passes through it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any, Self, TypeVar

from acme_orders.chassis.database.connections import Connections
from acme_orders.chassis.database.failures import kind_of
from acme_orders.chassis.database.lease import LEVELS, Isolation, Lease
from acme_orders.chassis.database.queries import Queries
from acme_orders.chassis.database.sessions import Sessions
from acme_orders.chassis.database.settings import DatabaseSettings, Timeouts
from acme_orders.chassis.database.share import Kept, Share
from acme_orders.chassis.database.statements import Reports, Statement
from acme_orders.chassis.database.unit_of_work import Transaction
from acme_orders.chassis.errors import (
    Conflict,
    IsolationTooLow,
    TransactionMisused,
)
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.scope import current_scope  # feature: row, rls, schema

Result = TypeVar("Result")
Unit = TypeVar("Unit", bound=Callable[..., Awaitable[Any]])

_LONGEST_BACKOFF = 1.0  # seconds between two attempts after conflicts


def retryable(unit: Unit) -> Unit:
    """Declare that a rollback undoes everything `unit` does, so that it may be run again."""
    unit.__dict__["retryable"] = True
    return unit


class Manager(Queries):
    """Runs queries and transactions on a bounded pool.

    Args:
        settings: of the database.
        metrics: where statements, waits and transactions are counted.
        role: that sessions act as, whoever logged in; None for whoever that is.
        application: name that PostgreSQL shows for the connections.
        observers: each is told of every statement after it ran.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        metrics: Metrics,
        *,
        role: str | None = None,
        application: str = "",
        observers: Sequence[Callable[[Statement], None]] = (),
    ) -> None:
        sessions = Sessions(settings, role=role, application=application)
        connections = Connections(sessions, settings, metrics)
        super().__init__(connections, Reports(settings, metrics), metrics)
        self._settings = settings
        self._reports.observers.extend(observers)

    async def __aenter__(self) -> Self:
        try:
            await self._connections.open()
            # feature: row, rls, schema {
            async with self._connections.lease() as lease:
                await self._reports.guard.learn(lease)
            # feature: row, rls, schema }
        except BaseException:
            await self._connections.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    def connection(self) -> AbstractAsyncContextManager[Lease]:
        """Hold one connection for a whole request or batch; it is given back whatever happens."""
        return self._connections.lease()

    def sharing(self, share: Share) -> AbstractContextManager[Kept]:
        """Do the work of the block on connections of a share; see `Kept` for which."""
        return self._connections.sharing(share)

    async def ping(self) -> None:
        """Return when PostgreSQL has answered and takes writes; raises DatabaseUnavailable."""
        async with self._connections.lease() as lease:
            await lease.begin("READ COMMITTED", self._settings, read_only=False)  # not on a standby
            await lease.undo("ROLLBACK")

    @asynccontextmanager
    async def transaction(
        self,
        name: str,
        *,
        isolation: Isolation = "READ COMMITTED",
        read_only: bool = False,
        timeouts: Timeouts | None = None,
        items: int = 1,
    ) -> AsyncIterator[Transaction]:
        """Commit all that happens inside, or nothing.

        Args:
            name: of the unit of work, for metrics and logs.
            isolation: as PostgreSQL names it.
            read_only: refuse every write.
            timeouts: instead of those of the settings.
            items: how many things it handles that need statements of their own.

        Raises:
            TransactionMisused: inside another transaction; use `savepoint` there. Inside one that
                `encloses` others it is a part of it instead: undone alone, committed together.
            TransactionAborted: an error inside was swallowed, and PostgreSQL rolled back.
            CommitUnknown: COMMIT was under way and got no answer.
        """
        scope = current_scope()  # feature: row, rls, schema
        limits = timeouts or self._settings
        async with self._connections.lease() as lease:
            if lease.transaction is not None:
                part = self._part(lease, name, isolation, limits, read_only=read_only)
                async with part as enclosing:
                    yield enclosing
                return
            lease.transaction = transaction = Transaction(name, items=items)
            started, outcome, usual = time.perf_counter(), "rollback", lease.statement
            try:
                lease.statement = limits.statement_timeout
                await lease.begin(isolation, limits, read_only=read_only)
                await scope.enter(lease)  # feature: row, rls, schema
                yield transaction
                await self._flush(transaction)
                await lease.commit()
                outcome = "commit"
                for notify in transaction.after_commit:
                    notify()
            finally:
                if outcome == "rollback":
                    await lease.undo("ROLLBACK")
                lease.transaction, lease.statement = None, usual
                self._reports.transaction(transaction)
                self._metrics.db_transaction_duration.labels(transaction.name, outcome).observe(
                    time.perf_counter() - started
                )

    @asynccontextmanager
    async def _part(
        self, lease: Lease, name: str, isolation: Isolation, limits: Timeouts, *, read_only: bool
    ) -> AsyncIterator[Transaction]:
        transaction = lease.transaction
        assert transaction is not None
        if (opened := transaction.encloses) is None:
            raise TransactionMisused(
                f"transaction {name!r} inside {transaction.name!r}: use savepoint()"
            )
        if LEVELS.index(isolation) > LEVELS.index(opened):
            raise IsolationTooLow(isolation)
        usual, transaction.name, transaction.encloses = lease.statement, name, None
        try:
            async with self.savepoint(kept=not read_only):
                lease.statement = limits.statement_timeout
                if read_only:
                    await lease.send("SET TRANSACTION READ ONLY")
                if limits is not self._settings:
                    await lease.limit(limits)
                yield transaction
            if limits is not self._settings:
                await lease.limit(self._settings)
            transaction.parts += not read_only
        finally:
            lease.statement, transaction.encloses = usual, opened

    @asynccontextmanager
    async def savepoint(self, *, kept: bool = True) -> AsyncIterator[None]:
        """Let a part of a transaction fail alone: its writes are undone, the rest goes on.

        Unless it is `kept`, it is undone in any case.
        """
        transaction = self.current_transaction()
        await self._flush(transaction)
        transaction.depth += 1
        name = f"savepoint_{transaction.depth}"
        async with self._connections.lease() as lease:
            await lease.send(f"SAVEPOINT {name}")
            try:
                yield
                await self._flush(transaction)
                await lease.send(f"{'RELEASE' if kept else 'ROLLBACK TO'} SAVEPOINT {name}")
            except BaseException:
                transaction.forget()
                await lease.undo(f"ROLLBACK TO SAVEPOINT {name}")
                raise
            finally:
                transaction.depth -= 1

    async def run(
        self,
        name: str,
        unit: Callable[[], Awaitable[Result]],
        *,
        retries: int = 3,
        deadline: float = 30,
        items: int = 1,
    ) -> Result:
        """Run `unit` in a transaction, and the whole of it again after a conflict.

        Args:
            name: of the unit of work, for metrics and logs.
            unit: declared `retryable`.
            retries: how often it may run again after 40001, 40P01 or 55P03.
            deadline: seconds from the first attempt after which there is no other.
            items: how many things it handles that need statements of their own.

        Raises:
            TransactionMisused: `unit` is not declared retryable, or a transaction is open: only
                the outermost one can run again, because PostgreSQL ends all of it.
            Conflict: the last one, when there is no attempt left.
        """
        if not getattr(unit, "retryable", False):
            raise TransactionMisused(
                f"{name!r} is not declared retryable: mark the function with @retryable if a "
                "rollback undoes all that it does, or use `async with manager.transaction(…)`"
            )
        ends = time.monotonic() + deadline
        for attempt in range(retries + 1):
            try:
                async with self.transaction(name, items=items):
                    return await unit()
            except Conflict as conflict:
                # Full jitter: those who met would meet again if they waited equally long.
                pause = random.uniform(0, min(_LONGEST_BACKOFF, 0.02 * 2**attempt))  # noqa: S311
                if attempt == retries or time.monotonic() + pause >= ends:
                    self._metrics.db_transaction_retries_exhausted.labels(name).inc()
                    raise
                self._metrics.db_transaction_retries.labels(name, kind_of(conflict)).inc()
                await asyncio.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    async def flush(self) -> None:
        """Do what waits for COMMIT."""
        await self._flush(self.current_transaction())

    async def _flush(self, transaction: Transaction) -> None:
        with transaction.flushing():
            await transaction.work()
            for name, model, rows in transaction.take():
                with self.named(name):
                    await self.insert(model, rows)
