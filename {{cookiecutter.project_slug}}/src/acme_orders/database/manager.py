"""The async Peewee manager: every statement, transaction and connection passes through it.

Repositories find the transaction of their caller by themselves, so that no connection is handed
around. Outside a transaction a session can only read.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NoReturn, Self, TypeVar

from acme_orders.database import driver
from acme_orders.database.connections import Connections, Fetch, Lease, Timeouts
from acme_orders.database.failures import kind_of
from acme_orders.database.unit_of_work import Transaction
from acme_orders.errors import (
    CommitUnknown,
    Conflict,
    DatabaseError,
    DatabaseUnavailable,
    TransactionAborted,
    TransactionMisused,
    WriteOutsideTransaction,
)
from acme_orders.observability.metrics import Metrics

Result = TypeVar("Result")
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that ran, as observers see it."""

    query: str
    sql: str
    parameters: Sequence[Any]
    seconds: float
    unit_of_work: str | None
    error: DatabaseError | None


class Manager:
    """Runs queries and transactions on a bounded pool.

    Args:
        url: `postgresql://…`.
        size: most connections.
        metrics: where statements, waits and transactions are counted.
        timeouts: limits in seconds.
        observers: each is told of every statement after it ran.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int,
        metrics: Metrics,
        timeouts: Timeouts | None = None,
        observers: Sequence[Callable[[Statement], None]] = (),
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._metrics, self._observers = metrics, list(observers)
        self._connections = Connections(url, size=size, timeouts=self._timeouts, metrics=metrics)
        self._database = _Database(self._run)
        self._query: ContextVar[str] = ContextVar("query", default="unregistered")

    async def __aenter__(self) -> Self:
        await self._connections.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    def connection(self) -> AbstractAsyncContextManager[Lease]:
        """Hold one connection for a whole request or batch; it is given back whatever happens."""
        return self._connections.lease()

    @asynccontextmanager
    async def transaction(
        self, name: str, *, isolation: Isolation = "READ COMMITTED", read_only: bool = False
    ) -> AsyncIterator[Transaction]:
        """Commit all that happens inside, or nothing.

        Args:
            name: of the unit of work, for metrics.
            isolation: as PostgreSQL names it.
            read_only: refuse every write.

        Raises:
            TransactionMisused: inside another transaction; use `savepoint` there.
            TransactionAborted: an error inside was swallowed, and PostgreSQL rolled back.
            CommitUnknown: the connection broke while COMMIT was under way.
        """
        async with self._connections.lease() as lease:
            if lease.transaction is not None:
                raise TransactionMisused(
                    f"transaction {name!r} inside {lease.transaction.name!r}: use savepoint()"
                )
            lease.transaction = transaction = Transaction(name)
            started, outcome = time.perf_counter(), "rollback"
            try:
                await lease.send(self._begin(isolation, read_only=read_only))
                yield transaction
                await self._flush(transaction)
                await _commit(lease)
                outcome = "commit"
                for notify in transaction.after_commit:
                    notify()
            finally:
                if outcome == "rollback":
                    await _undo(lease, "ROLLBACK")
                lease.transaction = None
                self._metrics.db_transaction_duration.labels(name, outcome).observe(
                    time.perf_counter() - started
                )

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let a part of a transaction fail alone: its writes are undone, the rest goes on."""
        transaction = self.current_transaction()
        await self._flush(transaction)
        transaction.depth += 1
        name = f"savepoint_{transaction.depth}"
        async with self._connections.lease() as lease:
            await lease.send(f"SAVEPOINT {name}")
            try:
                yield
                await self._flush(transaction)
                await lease.send(f"RELEASE SAVEPOINT {name}")
            except BaseException:
                transaction.forget()
                await _undo(lease, f"ROLLBACK TO SAVEPOINT {name}")
                raise
            finally:
                transaction.depth -= 1

    async def run(
        self, name: str, unit: Callable[[], Awaitable[Result]], *, retries: int = 3
    ) -> Result:
        """Run `unit` in a transaction, and the whole of it again after a conflict.

        Args:
            name: of the unit of work, for metrics.
            unit: everything it does must be undone by a rollback.
            retries: how often it may run again after 40001, 40P01 or 55P03.
        """
        for attempt in range(retries):
            try:
                async with self.transaction(name):
                    return await unit()
            except Conflict:
                self._metrics.db_transaction_retries.labels(name).inc()
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
        async with self.transaction(name):
            return await unit()

    async def fetch(self, query: Any) -> list[Any]:
        """Run a Peewee query and return its rows."""
        rows: list[Any] = await self._database.aio_execute(query)
        return rows

    async def execute(self, query: Any) -> int:
        """Run a Peewee query and return how many rows it touched."""
        count: int = await self._database.aio_execute(query, _row_count)
        return count

    async def fetch_sql(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run our own SQL, `%s` for each parameter, and return its rows as tuples."""
        rows: list[Any] = await self._run(sql, parameters, _all_rows)
        return rows

    def observe(self, observer: Callable[[Statement], None]) -> None:
        """Tell one more of every statement after it ran."""
        self._observers.append(observer)

    def current_transaction(self) -> Transaction:
        """The open transaction of this task.

        Raises:
            WriteOutsideTransaction: there is none.
        """
        lease = self._connections.held()
        if lease is None or lease.transaction is None:
            raise WriteOutsideTransaction(
                f"{self.query_name} needs `async with manager.transaction(…)` around it"
            )
        return lease.transaction

    @property
    def query_name(self) -> str:
        """The name that this task's statements go by."""
        return self._query.get()

    @contextmanager
    def named(self, query: str) -> Iterator[None]:
        """Call the statements inside by this name, in metrics and logs."""
        token = self._query.set(query)
        try:
            yield
        finally:
            self._query.reset(token)

    async def _run(self, sql: str, parameters: Sequence[Any], fetch: Fetch | None) -> Any:
        started, failure = time.perf_counter(), None
        async with self._connections.lease() as lease:
            try:
                return await lease.send(sql, parameters, fetch)
            except DatabaseError as error:
                failure = error
                raise
            finally:
                seconds = time.perf_counter() - started
                unit = lease.transaction.name if lease.transaction else None
                self._report(Statement(self.query_name, sql, parameters, seconds, unit, failure))

    def _report(self, statement: Statement) -> None:
        outcome = "error" if statement.error else "ok"
        self._metrics.db_operation_duration.labels(statement.query, outcome).observe(
            statement.seconds
        )
        if statement.error is not None:
            self._metrics.db_errors.labels(statement.query, kind_of(statement.error)).inc()
        for observe in self._observers:
            observe(statement)

    def _begin(self, isolation: Isolation, *, read_only: bool) -> str:
        limits = {
            "statement_timeout": self._timeouts.statement,
            "lock_timeout": self._timeouts.lock,
            "idle_in_transaction_session_timeout": self._timeouts.idle_in_transaction,
        }
        begin = f"BEGIN ISOLATION LEVEL {isolation} READ {'ONLY' if read_only else 'WRITE'}"
        settings = (f"SET LOCAL {name} = {limits[name] * 1000:.0f}" for name in limits)
        return "; ".join((begin, *settings))

    async def _flush(self, transaction: Transaction) -> None:
        for name, query in transaction.take():
            with self.named(name):
                await self.execute(query)


class _Database(driver.Database):
    """Peewee's database for compiling queries; their way to PostgreSQL is the manager's."""

    def __init__(self, run: Callable[[str, Sequence[Any], Fetch | None], Awaitable[Any]]) -> None:
        super().__init__(None)
        self._run = run

    async def aio_execute_sql(
        self, sql: str, params: Sequence[Any] | None = None, fetch_results: Any = None
    ) -> Any:
        fetch = partial(fetch_results, self) if fetch_results else None
        return await self._run(sql, params or (), fetch)

    def aio_connection(self) -> NoReturn:
        raise TransactionMisused("connections and transactions come from the Manager")


async def _row_count(_database: object, cursor: Any) -> int:
    return int(cursor.rowcount)


async def _all_rows(cursor: Any) -> list[Any]:
    return list(await cursor.fetchall()) if cursor.description else []


async def _commit(lease: Lease) -> None:
    try:
        tag = await lease.send("COMMIT")
    except DatabaseUnavailable as error:
        raise CommitUnknown from error
    if tag != "COMMIT":
        raise TransactionAborted


async def _undo(lease: Lease, sql: str) -> None:
    """Roll back; a closed connection has been rolled back by the server already."""
    if lease.broken:
        return
    try:
        await lease.send(sql)
    except DatabaseError:
        await lease.connection.close()  # or the pool would hand out a session in an unknown state
