"""How a repository reads: within bounds, page after page, and children of many parents at once."""

from collections.abc import Sequence
from typing import Any

import peewee

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.pages import Pages
from acme_orders.chassis.database.reading import Found
from acme_orders.chassis.errors import QueryRefused


class Reader:
    """Reads with the queries of one repository.

    Args:
        manager: that sends them.
    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager

    async def fetch_one(self, select: Any) -> dict[str, Any] | None:
        """The first row, or None.

        Raises:
            QueryRefused: it names no columns.
        """
        rows = await self.fetch_all(select.limit(1))
        return rows[0] if rows else None

    async def fetch_all(self, query: Any) -> list[dict[str, Any]]:
        """All rows of a bounded query, or those that a write returns.

        Rows that cannot be read are passed over, and told of.

        Raises:
            QueryRefused: a table grows, and the query has no limit; or it names no columns.
            UnreadableRow: it found nothing but a row that cannot be read, or it wrote the row.
        """
        self._admit(query)
        return await self.manager.fetch(query.dicts())

    async def fetch_page(
        self, select: Any, *, order: Sequence[Any], after: Sequence[Any] | None, limit: int
    ) -> list[dict[str, Any]]:
        """The rows that come after a known one; as fast on the last page as on the first.

        Rows that cannot be read are passed over, and told of.

        Args:
            select: without order and limit.
            order: columns or expressions, each with `.asc()`, `.desc()` or neither, that together
                are unique, and with which an index begins.
            after: their values in the last row of the page before; None for the first page.
            limit: most rows.

        Raises:
            QueryRefused: the order is not unique, or a row in it cannot be found again.
        """
        pages = Pages(select, order, query=self.manager.query_name)
        return await pages.fetch(self._found, after=after, limit=limit)

    async def fetch_children(
        self, select: Any, column: Any, keys: Sequence[Any], *, most: int = 1000
    ) -> dict[Any, list[dict[str, Any]]]:
        """The children of many parents in one query instead of one for each parent.

        Args:
            select: of the children, with `column` among its columns and the order that is wanted.
            column: that refers to the parent.
            keys: of the parents.
            most: children of all parents together.

        Rows that cannot be read are passed over, and told of.

        Raises:
            QueryRefused: there are more; or a key is not told in the form in which it is read.
        """
        children: dict[Any, list[dict[str, Any]]] = {key: [] for key in keys}
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
        return children

    async def fetch_sql(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run SQL that is written by hand: a constant, with `%s` for each parameter."""
        return await self.manager.fetch_sql(sql, parameters)

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
