"""The base of every repository, and the mark that makes a method a registered query.

A registered query has a stable name. The same name stands in metrics and logs, `explain` prints its
plan, and the readiness checks run it with its example and look at what it did.
"""

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import peewee

from acme_orders.database.manager import Manager
from acme_orders.database.table import Table
from acme_orders.database.tenancy import require_scope  # feature: row, rls, schema
from acme_orders.database.unit_of_work import Later, Row, Work
from acme_orders.errors import QueryRefused

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Owner = TypeVar("Owner", bound="Repository")
_ROWS_AT_ONCE = 1000  # in one INSERT; more gains nothing, and its text is held in memory
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class Insertion(Enum):
    """What became of a row that may have been there before."""

    INSERTED = "inserted"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Query:
    """What is known about a registered query.

    Args:
        name: stable; `slice.verb`.
        traffic: `high` if it runs for every message or request; then its filters need an index.
        writes: whether it needs a transaction.
        example: arguments that readiness checks and EXPLAIN call it with.
    """

    name: str
    traffic: Literal["high", "low"] = "low"
    writes: bool = False
    example: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: call a query like orders.by_id")


def query(
    name: str,
    *,
    traffic: Literal["high", "low"] = "low",
    writes: bool = False,
    example: Mapping[str, Any] | None = None,
) -> Callable[
    [Callable[Concatenate[Owner, Arguments], Awaitable[Result]]],
    Callable[Concatenate[Owner, Arguments], Awaitable[Result]],
]:
    """Register a repository method as a query; see `Query` for the arguments.

    A method with `writes=True` raises WriteOutsideTransaction before it sends anything.
    """
    registered = Query(name, traffic, writes, example or {})

    def decorate(
        method: Callable[Concatenate[Owner, Arguments], Awaitable[Result]],
    ) -> Callable[Concatenate[Owner, Arguments], Awaitable[Result]]:
        @functools.wraps(method)
        async def run(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self.manager.named(name):
                if writes:
                    self.manager.current_transaction()
                require_scope(across=self.across_tenants)  # feature: row, rls, schema
                return await method(self, *args, **kwargs)

        run.__dict__["query"] = registered
        return run

    return decorate


class Repository:
    """Loads and stores one kind of thing; the only place that touches its models."""

    machinery = False  # whether its queries are the same for every kind of message
    across_tenants = False  # feature: row, rls, schema

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        if self.machinery:
            manager.machinery.update(query.name for query, _ in self.queries())

    @classmethod
    def queries(cls) -> Iterator[tuple[Query, str]]:
        """Every registered query of this repository, with the name of its method."""
        for name in dir(cls):
            registered = getattr(getattr(cls, name), "query", None)
            if isinstance(registered, Query):
                yield registered, name

    # Reading

    async def fetch_one(self, select: Any) -> dict[str, Any] | None:
        """The first row, or None.

        Raises:
            QueryRefused: it names no columns.
        """
        rows = await self.fetch_all(select.limit(1))
        return rows[0] if rows else None

    async def fetch_all(self, query: Any) -> list[dict[str, Any]]:
        """All rows of a bounded query, or those that a write returns.

        Raises:
            QueryRefused: a table grows, and the query has no limit; or it names no columns.
        """
        if isinstance(query, peewee.RawQuery):
            raise QueryRefused(f"{self.manager.query_name} is SQL by hand: send it with fetch_sql")
        if isinstance(query, peewee.SelectBase):
            if getattr(query, "_limit", None) is None:
                raise QueryRefused(
                    f"{self.manager.query_name} has no limit: add .limit(…), read pages with "
                    "fetch_page, or everything with manager.stream"
                )
            if getattr(query, "_is_default", False):
                raise QueryRefused(
                    f"{self.manager.query_name} reads whole rows: name the columns in .select(…)"
                )
        return await self.manager.fetch(query.dicts())

    async def fetch_page(
        self, select: Any, *, order: Sequence[Any], after: Sequence[Any] | None, limit: int
    ) -> list[dict[str, Any]]:
        """The rows that come after a known one; as fast on the last page as on the first.

        Args:
            select: without order and limit.
            order: columns that together are unique, and with which an index begins.
            after: their values in the last row of the page before; None for the first page.
            limit: most rows.
        """
        if after is not None:
            select = select.where(peewee.Tuple(*order) > peewee.Tuple(*after))
        return await self.fetch_all(select.order_by(*order).limit(limit))

    async def fetch_children(
        self, select: Any, column: Any, keys: Sequence[Any], *, most: int = 1000
    ) -> dict[Any, list[dict[str, Any]]]:
        """The children of many parents in one query instead of one for each parent.

        Args:
            select: of the children, with `column` among its columns and the order that is wanted.
            column: that refers to the parent.
            keys: of the parents.
            most: children of all parents together.

        Raises:
            QueryRefused: there are more.
        """
        children: dict[Any, list[dict[str, Any]]] = {key: [] for key in keys}
        if not keys:
            return children
        rows = await self.fetch_all(select.where(column.in_(list(keys))).limit(most + 1))
        if len(rows) > most:
            raise QueryRefused(
                f"{self.manager.query_name} finds more than {most} children of {len(keys)} "
                "parents: ask for fewer parents, or raise `most`"
            )
        for row in rows:
            children[row[column.name]].append(row)
        return children

    async def fetch_sql(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run SQL that is written by hand: a constant, with `%s` for each parameter."""
        return await self.manager.fetch_sql(sql, parameters)

    # Writing

    def later(self, work: Work, item: Any) -> Later:
        """Do something before COMMIT, together with what other messages of the batch ask for.

        Args:
            work: does it for many items; says of each, in their order, whether it had an effect.
            item: one of them.

        Returns:
            What `provided` of `add_later` takes: a row that is added only if there was an effect.
        """
        return self.manager.current_transaction().do(work, item)

    def add_later(self, model: type[Table], row: Row, *, provided: Later | None = None) -> None:
        """Insert a row before COMMIT, together with those of the other messages of the batch.

        With `provided` only if that has had an effect.
        """
        transaction = self.manager.current_transaction()
        transaction.add(model, row, query=self.manager.query_name, provided=provided)

    async def insert_all(self, model: type[Table], rows: Sequence[Row]) -> int:
        """Insert many rows with few statements; returns how many."""
        for some in _portions(rows):
            await self.manager.insert(model, some)
        return len(rows)

    async def insert_once(self, model: type[Table], row: Row, *key: Any) -> Insertion:
        """Insert a row unless one with this key is there.

        Args:
            model: of the row.
            row: the columns.
            key: the columns of a unique constraint; PostgreSQL refuses the statement without one.
        """
        new = await self.insert_all_once(model, [row], *key)
        return Insertion.INSERTED if new else Insertion.DUPLICATE

    async def insert_all_once(
        self,
        model: type[Table],
        rows: Sequence[Row],
        *key: Any,
        common: Row | None = None,
        returning: Sequence[Any] = (),
    ) -> set[tuple[Any, ...]]:
        """Insert those rows whose key is not there yet; returns the keys of the inserted ones.

        What PostgreSQL has put into other columns comes with them if `returning` names these.
        `common` are columns with the same value in all rows.

        Give the rows in the order of their keys: two transactions that insert the same rows in
        another order wait for each other.
        """
        target, inserted, wanted = list(key), set(), (*key, *returning)
        target.insert(0, model.tenant_id)  # feature: row, rls
        for some in _portions(rows):
            inserted.update(
                await self.manager.insert(model, some, common=common, key=target, returning=wanted)
            )
        return inserted

    async def upsert(
        self, model: type[Table], rows: Sequence[Row], *key: Any, update: Sequence[Any]
    ) -> int:
        """Insert rows, and where their key is there already, update these columns instead.

        A key may stand only once among the rows; PostgreSQL refuses the statement else.
        """
        target, changed = list(key), 0
        target.insert(0, model.tenant_id)  # feature: row, rls
        for some in _portions(rows):
            touched = await self.manager.insert(
                model, some, key=target, update=update, returning=key
            )
            changed += len(touched)
        return changed


def among(column: peewee.Field, values: Iterable[Any], type_: str) -> Any:
    """The condition that a column of this PostgreSQL type has one of these values.

    Its SQL is the same for any number of values; that of IN is not.
    """
    adapted = [column.db_value(value) for value in values]  # type: ignore[no-untyped-call]
    listed = peewee.Value(adapted, converter=False, unpack=False)
    return column == peewee.fn.ANY(listed.cast(f"{type_}[]"))


def _portions(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]
