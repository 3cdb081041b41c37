"""The async Peewee manager: every statement, transaction and connection passes through it.

Repositories find the transaction of their caller by themselves, so that no connection is handed
around. Outside a transaction a session can only read.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar
from functools import partial
from typing import Any, Self, TypeVar

import peewee

from acme_orders.chassis.database.connections import Connections
from acme_orders.chassis.database.dialect import Dialect
from acme_orders.chassis.database.failures import kind_of
from acme_orders.chassis.database.inserts import field_of, insertion
from acme_orders.chassis.database.lease import (
    Fetch,
    Isolation,
    Lease,
)
from acme_orders.chassis.database.reading import Found, models, tuples
from acme_orders.chassis.database.settings import DatabaseSettings, Timeouts
from acme_orders.chassis.database.share import Kept, Share
from acme_orders.chassis.database.statements import (
    Reports,
    Statement,
)
from acme_orders.chassis.database.unit_of_work import Row, Transaction
from acme_orders.chassis.errors import (
    Conflict,
    DatabaseError,
    TransactionMisused,
    UnreadableRow,
    WriteOutsideTransaction,
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


class Manager:
    """Runs queries and transactions on a bounded pool.

    Args:
        settings: of the database.
        metrics: where statements, waits and transactions are counted.
        role: that sessions act as, whoever logged in; None for whoever that is.
        application: name that PostgreSQL shows for the connections.
        observers: each is told of every statement after it ran.

    `machinery` has the names of the queries that are not the business's: what fails in one of them
    hardly is the fault of the message in hand.
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
        self._settings, self._metrics = settings, metrics
        self._reports = Reports(settings, metrics)
        self._reports.observers.extend(observers)
        self._connections = Connections(
            settings, role=role, application=application, metrics=metrics
        )
        self._dialect = Dialect()
        self.machinery: set[str] = set()
        self._query: ContextVar[str] = ContextVar("query", default="unregistered")

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

    # Connections and transactions

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
            TransactionMisused: inside another transaction; use `savepoint` there.
            TransactionAborted: an error inside was swallowed, and PostgreSQL rolled back.
            CommitUnknown: COMMIT was under way and got no answer.
        """
        scope = current_scope()  # feature: row, rls, schema
        limits = timeouts or self._settings
        async with self._connections.lease() as lease:
            if lease.transaction is not None:
                raise TransactionMisused(
                    f"transaction {name!r} inside {lease.transaction.name!r}: use savepoint()"
                )
            lease.transaction = transaction = Transaction(name, items=items)
            started, outcome, usual = time.perf_counter(), "rollback", lease.statement
            try:
                lease.statement = limits.statement_timeout
                await lease.begin(isolation, limits, read_only=read_only)
                # feature: row, rls, schema {
                try:
                    await scope.enter(lease)
                except DatabaseError as error:
                    error.own = True
                    raise
                # feature: row, rls, schema }
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

    def current_transaction(self) -> Transaction:
        """The open transaction of this task.

        Raises:
            WriteOutsideTransaction: there is none.
        """
        lease = self._connections.held()
        if lease is None or lease.transaction is None:
            self._metrics.db_guard_violations.labels("no_transaction").inc()
            raise WriteOutsideTransaction(
                f"{self.query_name} needs `async with manager.transaction(…)` around it"
            )
        return lease.transaction

    # Statements

    async def fetch(self, query: Any) -> list[Any]:
        """Run a Peewee query and return its rows; those that cannot be read are told of.

        Raises:
            UnreadableRow: it found nothing but such a row, or it wrote the row.
        """
        return self._rows(await self.read(query), wrote=not isinstance(query, peewee.SelectBase))

    async def read(self, query: Any) -> Found:
        """Run a Peewee query and return what it found, also of rows that cannot be read."""
        return await self._read(*self._dialect.compiled(query), models(query))

    async def execute(self, query: Any) -> int:
        """Run a Peewee query and return how many rows it touched."""
        count: int = await self._run(*self._dialect.compiled(query), _row_count)
        return count

    async def insert(
        self,
        model: type[peewee.Model],
        rows: Sequence[Row],
        *,
        common: Row | None = None,
        key: Sequence[Any] = (),
        update: Sequence[Any] = (),
        returning: Sequence[Any] = (),
    ) -> list[tuple[Any, ...]]:
        """Insert rows with one statement, and return what it returns; see `insertion`.

        Raises:
            UnreadableRow: it returns one that cannot be read.
        """
        sql, values = insertion(
            model, rows, common=common, key=key, update=update, returning=returning
        )
        fields = [field_of(model, each) for each in returning]
        found = await self._read(sql, values, tuples(fields))
        if key and returning and not update and (dropped := len(rows) - len(found)):
            count = self._metrics.db_rows_already_there.labels(self.query_name).inc
            self.current_transaction().after_commit.add(partial(count, dropped))
        return self._rows(found, wrote=True)

    async def fetch_sql(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run our own SQL, `%s` for each parameter, and return its rows as tuples.

        Raises:
            TransactionMisused: it changes the session, which outlives the transaction; or the
                transaction, which is ours.
            UnreadableRow: it found nothing but a row that cannot be read.
        """
        return self._rows(await self._read(sql, parameters, tuples()))

    async def stream(self, query: Any, *, batch: int = 500) -> AsyncIterator[Any]:
        """Yield the rows of a Peewee query without holding all of them in memory.

        Args:
            query: as for `fetch`; rows that cannot be read are passed over, and told of.
            batch: rows that are fetched at once.

        Raises:
            WriteOutsideTransaction: a cursor lives in a transaction; `read_only=True` will do.
        """
        transaction = self.current_transaction()
        transaction.streams += 1
        cursor = f"stream_{transaction.streams}"
        sql, parameters = self._dialect.compiled(query)
        await self._run(f"DECLARE {cursor} NO SCROLL CURSOR FOR {sql}", parameters, None)
        next_rows = models(query)
        while found := await self._read(f"FETCH FORWARD {batch} FROM {cursor}", (), next_rows):
            for row in found.rows:
                yield row
        await self._run(f"CLOSE {cursor}", (), None)

    def observe(self, observer: Callable[[Statement], None]) -> None:
        """Tell one more of every statement after it ran."""
        self._reports.observers.append(observer)

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
        query, failure = self.query_name, None
        scope = current_scope()  # feature: row, rls, schema
        async with self._connections.lease() as lease:
            scope.admit(lease)  # feature: row, rls, schema
            text = self._reports.sent(sql, query, parameters)
            transaction, started = lease.transaction, time.perf_counter()
            if transaction is not None and not sql.startswith("FETCH"):
                transaction.statements[query, sql] += 1
            try:
                return await lease.send(text, parameters, fetch)
            except DatabaseError as error:
                error.query, error.own, failure = query, query in self.machinery, error
                raise
            finally:
                seconds = time.perf_counter() - started
                unit = transaction.name if transaction else None
                self._reports.statement(Statement(query, sql, parameters, seconds, unit, failure))

    async def _read(self, sql: str, parameters: Sequence[Any], fetch: Fetch) -> Found:
        found: Found = await self._run(sql, parameters, fetch)
        if found.unreadable:
            self._reports.unreadable(self.query_name, found.unreadable)
        return found

    def _rows(self, found: Found, *, wrote: bool = False) -> list[Any]:
        if found.unreadable and (wrote or len(found) == 1):
            raise UnreadableRow(
                f"{self.query_name}: the value of {found.unreadable[0].column} has no form in "
                "Python, or its field refuses it: correct the row, or read it with .cast('text')"
            )
        return found.rows

    async def flush(self) -> None:
        """Do what waits for COMMIT."""
        await self._flush(self.current_transaction())

    async def _flush(self, transaction: Transaction) -> None:
        await transaction.work()
        for name, model, rows in transaction.take():
            with self.named(name):
                await self.insert(model, rows)


async def _row_count(cursor: Any) -> int:
    return int(cursor.rowcount)
