"""Pages have each row once, in the order of the query, whatever it is; any driver."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playhouse.postgres_ext import DateTimeTZField

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.pages import Pages
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import QueryRefused
from acme_orders.chassis.observability.metrics import Metrics

from dev.databases import Databases
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.integration.fields import Cents, Sealed
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

CREATE = """
    CREATE TABLE thing (
        id int PRIMARY KEY, amount int, name text, number int NOT NULL, size real, at timestamptz,
        secret text, data bytea, span interval, flag boolean NOT NULL
    )
"""
OWNER = ""
OWNER = "tenant_id, "  # feature: row, rls
OWNED = f"ALTER TABLE thing ADD tenant_id uuid NOT NULL DEFAULT '{TENANT}'"  # feature: row, rls


class Thing(Table):
    """Something with columns of many types, most of which may be NULL."""

    id = peewee.IntegerField(primary_key=True)
    amount = Cents(null=True)
    name = peewee.TextField(null=True)
    number = peewee.IntegerField()
    size = peewee.FloatField(null=True)
    at = DateTimeTZField(null=True)
    secret = Sealed(null=True)
    data = peewee.BlobField(null=True)
    span = peewee.BareField(null=True)
    flag = peewee.BooleanField()


WEST = timezone(timedelta(hours=-12))
FEW = st.integers(0, 2)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.none() | FEW,
            "name": st.none() | st.sampled_from(["", "a", "B", "b", "ä", "it's %s"]),
            "number": FEW,
            "size": st.none() | st.sampled_from([0.1, 0.2, 1e30, float("inf"), float("nan")]),
            "at": st.none() | st.sampled_from(["2026-01-01T00:00:00.000001Z", "1900-01-01T00:00Z"]),
            "secret": st.none() | st.sampled_from(["abc", "bca"]),
            "data": st.none() | st.sampled_from([b"", b"\x00", b"\\x"]),
            "span": st.none() | st.sampled_from(["1 mon", "-1 day", "30 days", "400 days"]),
            "flag": st.booleans(),
        }
    ),
    max_size=12,
)
NODES: dict[str, Any] = {
    **Thing._meta.fields,
    "lower": peewee.fn.lower(Thing.name),
    "modulo": peewee.fn.mod(Thing.number, 2),
    "product": Thing.size * 2,
    "day": peewee.fn.date_trunc("day", Thing.at),
    "collated": Thing.name.collate('"C"'),
}
del NODES["id"]
DIRECTIONS: dict[str, Any] = {
    "": lambda node: node,
    "asc": lambda node: node.asc(),
    "desc": lambda node: node.desc(),
    "asc first": lambda node: node.asc(nulls="first"),
    "asc last": lambda node: node.asc(nulls="last"),
    "desc first": lambda node: node.desc(nulls="first"),
    "desc last": lambda node: node.desc(nulls="last"),
}
TERMS = st.lists(
    st.tuples(st.sampled_from(list(NODES)), st.sampled_from(list(DIRECTIONS))), max_size=3
)


class Undone(Exception):
    """Ends a transaction without a COMMIT."""


@dataclass(frozen=True)
class Site:
    """A database with things, and a manager on it."""

    url: str
    manager: Manager
    loop: asyncio.Runner
    statements: list[Statement]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the scope of the test."""
        return self.loop.run(work, context=copy_context())


@pytest.fixture(scope="module", params=DRIVERS)
def site(request: pytest.FixtureRequest, migrated: str) -> Iterator[Site]:
    """One for all tests, which leave nothing behind."""
    databases = Databases(migrated)
    url = databases.create(template=migrated)
    rows_of(url, CREATE)
    rows_of(url, OWNED)  # feature: row, rls
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as loop:
        use_driver(request.param, patch)
        statements: list[Statement] = []
        manager = Manager(
            DatabaseSettings(database_url=url, pool_size=1),
            Metrics(),
            observers=[statements.append],
        )
        loop.run(manager.__aenter__())
        yield Site(url, manager, loop, statements)
        loop.run(manager.__aexit__())
    databases.drop(url)


async def read(repository: Repository, order: Sequence[Any], limit: int) -> list[int]:
    """Page after page, as somebody who knows only the last row of the page before."""
    nodes = [each.node if isinstance(each, peewee.Ordering) else each for each in order]
    names = [f"term_{number}" for number, _ in enumerate(order)]
    terms = [node.alias(name) for node, name in zip(nodes, names, strict=True)]
    found, after = list[int](), None
    while page := await repository.fetch_page(
        Thing.select(Thing.id, *terms), order=order, after=after, limit=limit
    ):
        assert len(page) <= limit
        found += [row["id"] for row in page]
        assert len(found) < 100, "the pages have no end"
        after = [page[-1][name] for name in names]
    return found


async def turn(repository: Repository, order: Sequence[Any], limit: int) -> list[int]:
    """Page after page, as a client that knows only `next`; the last one has none, and rows."""
    found, after = list[int](), None
    while True:
        page = await repository.fetch_page(
            Thing.select(Thing.id), order=order, after=after, limit=limit
        )
        assert all(row.keys() == {"id"} for row in page)
        found += [row["id"] for row in page]
        if page.next is None:
            return found
        assert len(page) == limit
        after = page.next


async def three(
    manager: Manager, rows: Sequence[dict[str, Any]], order: Sequence[Any], limit: int
) -> tuple[list[int], list[int], list[int]]:
    """What all pages have, by values and by cursors, and what one query has."""
    repository, found = Repository(manager), (list[int](), list[int](), list[int]())
    with suppress(Undone):
        async with manager.transaction("test"):
            await repository.insert_all(
                Thing, [{"id": number, **row} for number, row in enumerate(rows)]
            )
            query = Thing.select(Thing.id).order_by(*order).limit(100)
            at_once = [row["id"] for row in await repository.fetch_all(query)]
            by_values = await read(repository, order, limit)
            found = (by_values, await turn(repository, order, limit), at_once)
            raise Undone
    return found


def test_pages_have_each_row_once_in_order(site: Site) -> None:
    """Whatever directions, NULLs, ties, conversions and expressions there are."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(rows=ROWS, terms=TERMS, last=st.sampled_from(list(DIRECTIONS)), limit=st.integers(1, 6))
    def compare(rows: Any, terms: Sequence[Any], last: str, limit: int) -> None:
        order = [DIRECTIONS[direction](NODES[node]) for node, direction in terms]
        order.append(DIRECTIONS[last](Thing.id))
        by_values, by_cursors, at_once = site.run(three(site.manager, rows, order, limit))
        assert by_values == by_cursors == at_once
        assert len(at_once) == len(rows)

    compare()


# Plans


def page_plan(site: Site, order: Sequence[Any], after: Sequence[Any]) -> str:
    """How PostgreSQL finds a page."""

    async def plan() -> str:
        repository = Repository(site.manager)
        async with site.manager.transaction("test", read_only=True):
            select = Thing.select(Thing.id, Thing.number)
            await repository.fetch_page(select, order=order, after=after, limit=10)
            sent = site.statements[-1]
            for other in ("seqscan", "bitmapscan"):
                await repository.fetch_sql(f"SET LOCAL enable_{other} = off")
            rows = await repository.fetch_sql(f"EXPLAIN {sent.sql}", *sent.parameters)
        return "\n".join(line for (line,) in rows)

    return str(site.run(plan()))


@pytest.mark.parametrize(
    ("index", "order", "condition"),
    [
        ("number, id", (Thing.number, Thing.id), "(ROW(number, id) > ROW(1, 5))"),
        ("number, id", (Thing.number.desc(), Thing.id.desc()), "(ROW(number, id) < ROW(1, 5))"),
        ("number DESC, id", (Thing.number.desc(), Thing.id), "(number <= 1)"),
        ("number, id DESC", (Thing.number, Thing.id.desc()), "(number >= 1)"),
    ],
)
def test_a_page_begins_where_the_index_has_it(
    site: Site, index: str, order: tuple[Any, ...], condition: str
) -> None:
    """One scan of a part of an index, without sorting, for each direction."""
    rows_of(site.url, f"CREATE INDEX page ON thing ({OWNER}{index})")
    try:
        plan = page_plan(site, order, (1, 5))
    finally:
        rows_of(site.url, "DROP INDEX page")
    assert condition in plan.partition("Index Cond:")[2].partition("\n")[0]
    assert "Sort" not in plan


# Refusals


class Unstable(peewee.TextField):
    """A text that is stored in another form each time."""

    def db_value(self, value: str) -> str:
        """Seal it with something random."""
        return f"{uuid4()}{value}"


class Other(Table):
    """A table with other keys than one column."""

    left = peewee.IntegerField()
    right = peewee.IntegerField()
    code = peewee.TextField(unique=True)
    maybe = peewee.TextField(unique=True, null=True)
    sealed = Unstable()

    class Meta:
        """Its keys."""

        primary_key = peewee.CompositeKey("left", "right")
        indexes = ((("code", "sealed"), True), (("right", "maybe"), True))


def page_of(select: Any, *order: Any, after: Any = None) -> Any:
    """The first page of a query, or one behind these values."""
    return Pages(select, order, query="things.page").behind(after)


@pytest.mark.parametrize(
    ("order", "remedy"),
    [
        ((), "add the primary key"),
        ((Thing.number,), "add the primary key"),
        ((Thing.amount.desc(), Thing.name), "add the primary key"),
        ((peewee.fn.abs(Thing.id),), "add the primary key"),
        ((peewee.SQL("id DESC"),), "give columns and expressions"),
        (("id",), "give columns and expressions"),
        ((1,), "give columns and expressions"),
    ],
)
def test_an_order_that_has_no_pages_is_refused(order: tuple[Any, ...], remedy: str) -> None:
    """Rows would be lost between them; its text says what helps."""
    with pytest.raises(QueryRefused, match=rf"things\.page .*{remedy}"):
        page_of(Thing.select(Thing.id), *order)


@pytest.mark.parametrize(
    ("order", "allowed"),
    [
        ((Other.right, Other.left), True),
        ((Other.code.desc(),), True),
        ((Other.left,), False),
        ((Other.maybe,), False),  # several rows may have none
        ((Other.right, Other.maybe), False),
    ],
)
def test_keys_of_each_kind_are_unique(order: tuple[Any, ...], *, allowed: bool) -> None:
    """Those of several columns too, and none that may be NULL."""
    if allowed:
        page_of(Other.select(Other.left), *order)
    else:
        with pytest.raises(QueryRefused, match="add the primary key"):
            page_of(Other.select(Other.left), *order)


def test_queries_that_have_no_pages_are_refused() -> None:
    """A condition that they do not take would be lost without a word."""
    select = Thing.select(Thing.id)
    with pytest.raises(QueryRefused, match="select from it as a subquery"):
        page_of(select | select, Thing.id)
    with pytest.raises(QueryRefused, match=r"leave \.limit"):
        page_of(select.offset(1), Thing.id)
    with pytest.raises(QueryRefused, match="sorted by 1 columns, not by 2"):
        page_of(select, Thing.id, after=(1, 2))
    with pytest.raises(QueryRefused, match="never stored in the same form twice"):
        page_of(Other.select(Other.code), Other.sealed, Other.code, after=("a", "b"))
    with pytest.raises(QueryRefused, match=r"Thing\.at does not take a value of type datetime"):
        page_of(select, Thing.at, Thing.id, after=(datetime.max.replace(tzinfo=WEST), 1))


def test_what_a_join_leaves_empty_is_sorted_as_null() -> None:
    """Though the column itself may not be NULL."""
    other = Thing.alias()
    for join, nullable in (("INNER", False), ("LEFT OUTER", True)):
        select = Thing.select(Thing.id).join(other, f"{join} JOIN", on=other.id == Thing.number)
        sql, _ = page_of(select, other.number, Thing.id, after=(1, 2)).sql()
        assert ("IS NULL" in sql) is nullable


def test_groups_have_pages(site: Site) -> None:
    """Of sums too, which are known only behind the groups."""

    async def pages() -> list[tuple[int, int]]:
        repository, found, after = Repository(site.manager), list[tuple[int, int]](), None
        total = peewee.fn.sum(Thing.id)
        select = Thing.select(Thing.number, total.alias("total")).group_by(Thing.number)
        order = (total.desc(), Thing.number)
        with suppress(Undone):
            async with site.manager.transaction("test"):
                rows = [{"id": n, "number": n % 4, "flag": True} for n in range(1, 12)]
                await repository.insert_all(Thing, rows)
                while page := await repository.fetch_page(
                    select, order=order, after=after, limit=1
                ):
                    after = (page[-1]["total"], page[-1]["number"])
                    found.append((page[-1]["number"], page[-1]["total"]))
                raise Undone
        return found

    assert site.run(pages()) == [(3, 21), (2, 18), (1, 15), (0, 12)]
