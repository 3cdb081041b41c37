"""Sends statements on the connection of their task, and reads what they find.

Repositories find the transaction of their caller by themselves, so that no connection is handed
around. Outside a transaction a session can only read.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import peewee

from acme_orders.chassis.database.connections import Connections
from acme_orders.chassis.database.dialect import Dialect
from acme_orders.chassis.database.inserts import field_of, insertion
from acme_orders.chassis.database.lease import Fetch
from acme_orders.chassis.database.reading import Found, models, tuples
from acme_orders.chassis.database.statements import Reports, Statement
from acme_orders.chassis.database.unit_of_work import Row, Transaction
from acme_orders.chassis.errors import (
    DatabaseError,
    UnreadableRow,
    WriteOutsideTransaction,
)
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.scope import current_scope  # feature: row, rls, schema


class Queries:
    """Runs queries under their names.

    Args:
        connections: that tasks hold.
        reports: told of every statement.
        metrics: where guards count what they refuse.

    `machinery` has the names of the queries that are not the business's: what fails in one of them
    hardly is the fault of the message in hand.
    """

    def __init__(self, connections: Connections, reports: Reports, metrics: Metrics) -> None:
        self._connections, self._reports, self._metrics = connections, reports, metrics
        self._dialect = Dialect()
        self.machinery: set[str] = set()
        self._query: ContextVar[str] = ContextVar("query", default="unregistered")

    def current_transaction(self) -> Transaction:
        """The open transaction of this task.

        Raises:
            WriteOutsideTransaction: there is none.
        """
        lease = self._connections.held()
        if lease is None or lease.transaction is None or lease.transaction.encloses:
            self._metrics.db_guard_violations.labels("no_transaction").inc()
            raise WriteOutsideTransaction(
                f"{self.query_name} needs `async with manager.transaction(…)` around it"
            )
        return lease.transaction

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

    async def fetch_sql(self, sql: str, *parameters: Any) -> list[Any]:
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

    @contextmanager
    def observed(self, unit_of_work: str) -> Iterator[list[Statement]]:
        """The statements of this transaction, as long as the block lasts."""
        statements = list[Statement]()

        def note(statement: Statement) -> None:
            if statement.unit_of_work == unit_of_work:
                statements.append(statement)

        self.observe(note)
        try:
            yield statements
        finally:
            self._reports.observers.remove(note)

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


async def _row_count(cursor: Any) -> int:
    return int(cursor.rowcount)
