"""Pages of a query: the rows that come behind a known one, in the order of the query.

A page begins behind the last row of the page before instead of skipping rows, so that PostgreSQL
finds it in an index. What is behind depends on directions, and on where NULL is sorted.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import peewee

from acme_orders.chassis.database.cursors import Cursors
from acme_orders.chassis.database.failures import is_permanent
from acme_orders.chassis.database.reading import Found
from acme_orders.chassis.database.values import Column, told
from acme_orders.chassis.errors import BadCursor, DatabaseError, QueryRefused

_INNER = {"INNER JOIN", "CROSS JOIN", "NATURAL JOIN", "JOIN LATERAL"}
_LEFT = {"LEFT OUTER JOIN", "LEFT JOIN LATERAL"}
_PLACE = "place_in_order_"


@dataclass(frozen=True, eq=False)
class _Term:
    """One of the things that rows are sorted by."""

    node: Any
    ascending: bool
    nulls_first: bool
    nullable: bool

    def compared(self, operator: str, place: Any) -> Any:
        return peewee.Expression(self.node, operator, place)

    def is_null(self, operator: str = peewee.OP.IS) -> Any:
        return peewee.Expression(self.node, operator, None)

    @property
    def onwards(self) -> str:
        return str(peewee.OP.GT if self.ascending else peewee.OP.LT)

    def behind(self, place: Any) -> Any:
        """The condition that a row is behind this place; None if no row can be."""
        if place is None:
            return self.is_null(peewee.OP.IS_NOT) if self.nulls_first else None
        further = self.compared(self.onwards, place)
        return further | self.is_null() if self.nullable and not self.nulls_first else further

    def at(self, place: Any) -> Any:
        return self.is_null() if place is None else self.compared(peewee.OP.EQ, place)

    def told(self) -> str:
        """As a text: the same in each process, another one for another term."""
        context: Any = peewee.Context()
        sql, parameters = context.sql(self.node).query()
        return f"{sql} {parameters} {self.onwards} {self.nulls_first}"

    def not_before(self, place: Any) -> Any:
        """A condition that all rows from here on meet, for an index; None if there is none."""
        if place is None or (self.nullable and not self.nulls_first):
            return None
        return self.compared(peewee.OP.GTE if self.ascending else peewee.OP.LTE, place)


class Pages:
    """The pages of a query.

    Args:
        select: without order, limit and offset.
        order: what its rows are sorted by.
        query: its name, for errors.

    Raises:
        QueryRefused: it has no pages: the order is not unique, or is none that is known.
    """

    def __init__(self, select: Any, order: Sequence[Any], *, query: str) -> None:
        if isinstance(select, peewee.CompoundSelectQuery):
            raise QueryRefused(
                f"{query} has pages of a union: select from it as a subquery with .from_(…)"
            )
        if select._limit is not None or select._offset is not None:  # noqa: SLF001
            raise QueryRefused(f"{query} has pages: leave .limit(…) and .offset(…) to them")
        self._select, self._query = select.order_by(*order), query
        self._terms = [_term(each, select, query) for each in order]
        _check_unique(select, self._terms, query)

    def behind(self, after: Sequence[Any] | str | None) -> Any:
        """The rows behind this one, of which the values in the order are given, or a cursor."""
        if after is None:
            return self._select
        if isinstance(after, str):
            return self._beyond(self._cursors.read(after))
        if len(after) != len(self._terms):
            raise QueryRefused(
                f"{self._query} is sorted by {len(self._terms)} columns, not by {len(after)}"
            )
        terms = zip(self._terms, after, strict=True)
        return self._beyond([_form(term, value, self._query) for term, value in terms])

    async def fetch(
        self,
        read: Callable[[Any], Awaitable[Found]],
        *,
        after: Sequence[Any] | str | None,
        limit: int,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """The first rows behind this one that can be read, and the cursor of those behind them.

        Args:
            read: sends a query.
            after: as for `behind`.
            limit: most rows.

        Raises:
            BadCursor: PostgreSQL takes no such place.
        """
        # A page that were shorter for its unreadable rows would be taken for the last one. Where
        # rows are, PostgreSQL says itself: also of what cannot be read, or is not selected.
        named = [f"{_PLACE}{number}" for number, _ in enumerate(self._terms)]
        places = [
            peewee.Cast(term.node, "text").alias(name)
            for term, name in zip(self._terms, named, strict=True)
        ]
        page, rows = self.behind(after), list[dict[str, Any]]()
        while True:
            wanted = limit + 1 - len(rows)  # one more than is asked for: is there a next page?
            try:
                found = await read(page.select_extend(*places).limit(wanted))
            except DatabaseError as error:
                if isinstance(after, str) and is_permanent(error):
                    raise BadCursor from error
                raise
            rows += found.rows
            if len(rows) > limit or len(found) < wanted:
                break
            page = self._beyond((found.last or ())[-len(named) :])
        ends = [[row.pop(name) for name in named] for row in rows][:limit]
        more = ends and len(rows) > limit
        return rows[:limit], self._cursors.write(ends[-1]) if more else None

    @cached_property
    def _cursors(self) -> Cursors:
        order = "; ".join((self._query, *(each.told() for each in self._terms)))
        return Cursors(order, query=self._query, terms=len(self._terms))

    def _beyond(self, places: Sequence[Any]) -> Any:
        values = [
            None if each is None else peewee.Value(each, converter=False, unpack=False)
            for each in places
        ]
        condition = _behind(self._terms, values)
        if condition is None:
            condition = peewee.SQL("false")
        grouped = self._select._group_by is not None  # noqa: SLF001
        return self._select.having(condition) if grouped else self._select.where(condition)


def _behind(terms: Sequence[_Term], places: Sequence[Any]) -> Any:
    first, *others = terms
    place, *further = places
    if not others:
        return first.behind(place)
    if not any(term.nullable or term.onwards != first.onwards for term in terms):
        nodes = (peewee.Tuple(*(term.node for term in terms)), peewee.Tuple(*places))
        return peewee.Expression(nodes[0], first.onwards, nodes[1])
    condition, deeper = first.behind(place), _behind(others, further)
    if deeper is not None:
        here = first.at(place) & deeper
        condition = here if condition is None else condition | here
    bound = first.not_before(place)
    return condition if condition is None or bound is None else bound & condition


def _term(item: Any, select: Any, query: str) -> _Term:
    ordering = item if isinstance(item, peewee.Ordering) else peewee.Asc(item)
    node = ordering.node
    while isinstance(node, peewee.Alias):
        node = node.node
    if not isinstance(node, peewee.ColumnBase) or isinstance(node, peewee.SQL):
        raise QueryRefused(f"{query} is sorted by {item!r}: give columns and expressions, for each "
                           ".asc() or .desc()")  # fmt: skip
    nullable = not _is_never_null(node, select)
    if ordering.collation:
        node = node.collate(ordering.collation)
    ascending = ordering.direction == "ASC"
    nulls = (ordering.nulls or ("last" if ascending else "first")).lower()
    return _Term(node, ascending, nulls == "first", nullable)


def _is_never_null(node: Any, select: Any) -> bool:
    if not isinstance(node, peewee.Field) or node.null:
        return False
    sources = select._from_list  # noqa: SLF001
    outer = {each for source in sources for each in _joins(source)} - _INNER
    return not outer or (outer <= _LEFT and node.model is select.model)


def _joins(source: Any) -> Iterator[str]:
    if isinstance(source, peewee.Join):
        yield source.join_type
        yield from _joins(source.lhs)
        yield from _joins(source.rhs)


def _check_unique(select: Any, terms: Sequence[_Term], query: str) -> None:
    if select._group_by or select._distinct or select._simple_distinct:  # noqa: SLF001
        return  # by what its rows differ is not known here
    meta, model = select.model._meta, select.model  # noqa: SLF001
    sorted_by = {
        term.node.name
        for term in terms
        if isinstance(term.node, peewee.Field) and term.node.model is model
    }
    indexes = [each for each in meta.indexes if isinstance(each, tuple) and each[1]]
    keys = [
        meta.get_primary_keys(),
        *([field] for field in meta.sorted_fields if field.unique),
        *([meta.combined[name] for name in names] for names, _ in indexes),
    ]
    if not any(
        key and all(field.name in sorted_by and not field.null for field in key) for key in keys
    ):
        raise QueryRefused(
            f"{query} is sorted by columns that several rows may have the same values of, and a "
            "page that ends between them would lose some: add the primary key as the last one"
        )


def _form(term: _Term, value: Any, query: str) -> Any:
    field = term.node.field if isinstance(term.node, peewee.FieldAlias) else term.node
    form = Column(field).form if isinstance(field, peewee.Field) else told
    place = form(value)
    if place != form(value):
        raise QueryRefused(
            f"{query} is sorted by {field.name}, which is never stored in the same form twice: "
            "nobody can tell what is behind a row"
        )
    # As a text it stays what it is in a column of any precision.
    return repr(place) if isinstance(place, float) else place
