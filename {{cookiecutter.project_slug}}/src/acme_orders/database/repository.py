"""The base of every repository, and the mark that makes a method a registered query.

A registered query has a stable name. The same name stands in metrics and logs, and the readiness
checks find the query by it, run it with its example, and look at what it did.
"""

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import peewee
from peewee_async import AioModel

from acme_orders.database.manager import Manager

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Owner = TypeVar("Owner", bound="Repository")


class Table(AioModel):
    """The base of every model. Models never leave their repository."""


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
                return await method(self, *args, **kwargs)

        run.__dict__["query"] = registered
        return run

    return decorate


class Repository:
    """Loads and stores one kind of thing; the only place that touches its models."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager

    @classmethod
    def queries(cls) -> Iterator[tuple[Query, str]]:
        """Every registered query of this repository, with the name of its method."""
        for name in dir(cls):
            registered = getattr(getattr(cls, name), "query", None)
            if isinstance(registered, Query):
                yield registered, name

    def add_later(self, model: type[Table], row: Mapping[str, Any]) -> None:
        """Insert a row before COMMIT, together with those of the other messages of the batch."""
        self.manager.current_transaction().add(model, row, query=self.manager.query_name)

    async def insert_once(self, model: type[Table], row: Mapping[str, Any], *key: Any) -> bool:
        """Insert a row unless one with this key is there; says whether it was inserted.

        Args:
            model: of the row.
            row: the columns.
            key: the columns of a unique constraint; PostgreSQL refuses the statement without one.
        """
        insert = model.insert(row).on_conflict(action="NOTHING", conflict_target=list(key))
        return await self.manager.execute(insert) == 1

    async def fetch_one(self, select: peewee.BaseQuery) -> Any | None:
        """The first row as a dictionary, or None."""
        rows = await self.manager.fetch(select.dicts())
        return rows[0] if rows else None

    async def fetch_all(self, select: peewee.BaseQuery) -> list[Any]:
        """All rows as dictionaries; put a limit on the query."""
        return await self.manager.fetch(select.dicts())
