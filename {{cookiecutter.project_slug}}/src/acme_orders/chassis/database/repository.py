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

from acme_orders.chassis.database.inserts import refuse_repeated
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.reader import Reader
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.database.unit_of_work import Later, Row, Work
from acme_orders.chassis.database.values import Column
from acme_orders.chassis.errors import QueryRefused
from acme_orders.chassis.tenancy.scope import require_scope  # feature: row, rls, schema

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
        given: rows that the checks store first, by the name of their table, such as a parent that
            no query stores.
    """

    name: str
    traffic: Literal["high", "low"] = "low"
    writes: bool = False
    example: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: call a query like parcels.by_id")


def query(
    name: str,
    *,
    traffic: Literal["high", "low"] = "low",
    writes: bool = False,
    example: Mapping[str, Any] | None = None,
    given: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Callable[
    [Callable[Concatenate[Owner, Arguments], Awaitable[Result]]],
    Callable[Concatenate[Owner, Arguments], Awaitable[Result]],
]:
    """Register a repository method as a query; see `Query` for the arguments.

    A method with `writes=True` raises WriteOutsideTransaction before it sends anything.
    """
    registered = Query(name, traffic, writes, example or {}, given or {})

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


class Repository(Reader):
    """Loads and stores one kind of thing; the only place that touches its models."""

    machinery = False  # whether its queries are the same for every kind of message
    across_tenants = False  # feature: row, rls, schema

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        if self.machinery:
            manager.machinery.update(query.name for query, _ in self.queries())

    @classmethod
    def queries(cls) -> Iterator[tuple[Query, str]]:
        """Every registered query with the name of its method, in the order of the source."""
        names = (name for each in reversed(cls.__mro__) for name in vars(each))
        for name in dict.fromkeys(names):
            registered = getattr(getattr(cls, name), "query", None)
            if isinstance(registered, Query):
                yield registered, name

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
            key: the columns of a unique constraint.

        Raises:
            QueryRefused: there is no key.
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

        How many were left out is counted in `db_rows_already_there`.

        Give the rows in the order of their keys: two transactions that insert the same rows in
        another order wait for each other.

        Raises:
            QueryRefused: there is no key; or what is returned does not fit into a set.
        """
        if not key:
            raise QueryRefused(
                f"{self.manager.query_name} inserts rows of {model.__name__} once, and does not "
                "say by which key: name the columns of a unique constraint"
            )
        target, inserted, wanted = list(key), set(), (*key, *returning)
        target.insert(0, model.tenant_id)  # feature: row, rls
        for some in _portions(rows):
            found = await self.manager.insert(
                model, some, common=common, key=target, returning=wanted
            )
            try:
                inserted.update(found)
            except TypeError as error:
                raise QueryRefused(
                    f"{self.manager.query_name} returns documents or lists of {model.__name__}, "
                    "which no set holds: read them by the keys"
                ) from error
        return inserted

    async def upsert(
        self, model: type[Table], rows: Sequence[Row], *key: Any, update: Sequence[Any]
    ) -> int:
        """Insert rows, and where their key is there already, update these columns instead.

        Raises:
            QueryRefused: there is no key, or several rows have the same; or `update` names no
                column, or one that the rows do not have.
        """
        if not key or not update:
            raise QueryRefused(
                f"{self.manager.query_name} needs a key of {model.__name__} and the columns to "
                "update: to leave rows as they are, use insert_all_once"
            )
        refuse_repeated(model, rows, key)
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
    form = Column(column).form
    listed = peewee.Value(list(map(form, values)), converter=False, unpack=False)
    return column == peewee.fn.ANY(listed.cast(f"{type_}[]"))


def _portions(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]
