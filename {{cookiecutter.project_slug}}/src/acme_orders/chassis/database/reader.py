"""How a repository reads: within bounds, page after page, and children of many parents at once."""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import peewee

from acme_orders.chassis.database.cursors import Page
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.pages import Pages
from acme_orders.chassis.database.reading import Found
from acme_orders.chassis.database.typed_rows import names_of, rows_into
from acme_orders.chassis.errors import QueryRefused

Kind = TypeVar("Kind")
Key = TypeVar("Key", bound=Hashable)
Columns: TypeAlias = dict[str, Any]  # of a row, by their names


class Reader:
    """Reads with the queries of one repository.

    Args:
        manager: that sends them.
    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager

    @overload
    async def fetch_one(self, select: peewee.BaseModelSelect) -> Columns | None: ...

    @overload
    async def fetch_one(self, select: peewee.BaseModelSelect, into: type[Kind]) -> Kind | None: ...

    async def fetch_one(self, select: Any, into: Any = dict) -> Any:
        """The first row, or None.

        Args:
            select: the query.
            into: a class with a field for each column; without it a dictionary comes.

        Raises:
            QueryRefused: it names no columns; or they are not the fields of `into`.
        """
        rows = await self.fetch_all(select.limit(1), into)
        return rows[0] if rows else None

    @overload
    async def fetch_all(self, query: peewee.BaseQuery) -> list[Columns]: ...

    @overload
    async def fetch_all(self, query: peewee.BaseQuery, into: type[Kind]) -> list[Kind]: ...

    async def fetch_all(self, query: Any, into: Any = dict) -> Any:
        """All rows of a bounded query, or those that a write returns.

        Rows that cannot be read are passed over, and told of.

        Args:
            query: a SELECT, or a write with `.returning(…)`.
            into: a class with a field for each column; without it dictionaries come.

        Raises:
            QueryRefused: a table grows, and the query has no limit; or it names no columns, or
                they are not the fields of `into`.
            UnreadableRow: it found nothing but a row that cannot be read, or it wrote the row.
        """
        self._admit(query)
        return self._made(into, await self.manager.fetch(query.dicts()))

    @overload
    async def fetch_page(
        self,
        select: peewee.BaseModelSelect,
        *,
        order: Sequence[Any],
        after: Sequence[Any] | str | None,
        limit: int,
    ) -> Page[Columns]: ...

    @overload
    async def fetch_page(
        self,
        select: peewee.BaseModelSelect,
        into: type[Kind],
        *,
        order: Sequence[Any],
        after: Sequence[Any] | str | None,
        limit: int,
    ) -> Page[Kind]: ...

    async def fetch_page(
        self,
        select: Any,
        into: Any = dict,
        *,
        order: Sequence[Any],
        after: Sequence[Any] | str | None,
        limit: int,
    ) -> Any:
        """The rows that come after a known one; as fast on the last page as on the first.

        Rows that cannot be read are passed over, and told of.

        Args:
            select: without order and limit.
            into: a class with a field for each column; without it dictionaries come.
            order: columns or expressions, each with `.asc()`, `.desc()` or neither, that together
                are unique, and with which an index begins.
            after: `next` of the page before, or the values of its last row; None for the first.
            limit: most rows.

        Raises:
            BadCursor: no page of this query, in this order, had this `next`.
            QueryRefused: the order is not unique, or a row in it cannot be found again; or the
                columns are not the fields of `into`.
        """
        pages = Pages(select, order, query=self.manager.query_name)
        self._admit(select.limit(limit))
        rows, next_ = await pages.fetch(self._found, after=after, limit=limit)
        return Page(self._made(into, rows), next_)

    @overload
    async def fetch_children(
        self,
        select: peewee.BaseModelSelect,
        column: Any,
        keys: Sequence[Key],
        *,
        most: int = 1000,
    ) -> dict[Key, list[Columns]]: ...

    @overload
    async def fetch_children(
        self,
        select: peewee.BaseModelSelect,
        column: Any,
        keys: Sequence[Key],
        into: type[Kind],
        *,
        most: int = 1000,
    ) -> dict[Key, list[Kind]]: ...

    async def fetch_children(
        self, select: Any, column: Any, keys: Any, into: Any = dict, *, most: int = 1000
    ) -> Any:
        """The children of many parents in one query instead of one for each parent.

        Args:
            select: of the children, with `column` among its columns and the order that is wanted.
            column: that refers to the parent.
            keys: of the parents.
            into: a class with a field for each column, `column` itself may be missing; without it
                dictionaries come.
            most: children of all parents together.

        Rows that cannot be read are passed over, and told of.

        Raises:
            QueryRefused: there are more; or a key is not told in the form in which it is read; or
                the columns are not the fields of `into`.
        """
        children: dict[Any, list[Columns]] = {key: [] for key in keys}
        if not keys:
            return children
        found = await self._found(select.where(column.in_(list(keys))).limit(most + 1))
        if len(found) > most:
            raise QueryRefused(
                f"{self.manager.query_name} finds more than {most} children of {len(keys)} "
                "parents: ask for fewer parents, or raise `most`"
            )
        for row in found.rows:
            if (key := row.get(column.name)) not in children:
                raise QueryRefused(
                    f"{self.manager.query_name} finds children by {column.name}, and reads a "
                    f"{type(key).__name__} there: select it, and give keys of this type"
                )
            children[key].append(row)
        if into is not dict and column.name not in names_of(into):
            for row in found.rows:
                del row[column.name]
        return {key: self._made(into, rows) for key, rows in children.items()}

    async def fetch_sql(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run SQL that is written by hand: a constant, with `%s` for each parameter."""
        return await self.manager.fetch_sql(sql, *parameters)

    def _made(self, into: Any, rows: list[Columns]) -> Any:
        if into is dict:
            return rows
        return rows_into(into, rows, query=self.manager.query_name)

    def _admit(self, query: Any) -> None:
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

    async def _found(self, query: Any) -> Found:
        self._admit(query)
        return await self.manager.read(query.dicts())
