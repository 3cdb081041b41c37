"""What every repository can do: bounded reads, pages, children, and writes that say what happened.

On the tables of the sales, through the service as it is.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from acme_orders.chassis.database.repository import Insertion, Repository, query
from acme_orders.chassis.errors import (
    QueryRefused,
    TransactionMisused,
    WriteOutsideTransaction,
)
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, count, eventually, rows
from tests.chassis.slices.sales.models import Buyer, Line, Sale
from tests.chassis.slices.sales.repository import Sales, SaleSummary

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
BUYER = UUID(int=1)
WAITING = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Undone(Exception):
    """Ends a transaction without a COMMIT."""


class Probe(Repository):
    """Queries that only tests send."""

    @query("probe.boundless", example={})
    async def boundless(self) -> list[dict[str, Any]]:
        """All sales, however many."""
        return await self.fetch_all(Sale.select(Sale.id))

    @query("probe.whole", example={})
    async def whole(self) -> list[dict[str, Any]]:
        """All columns, whatever is added to them."""
        return await self.fetch_all(Sale.select().limit(10))

    @query("probe.whole_row", example={})
    async def whole_row(self) -> dict[str, Any] | None:
        """All columns of one row."""
        return await self.fetch_one(Sale.select())

    @query("probe.lines", example={"sales": []})
    async def lines(self, sales: Sequence[UUID], *, most: int) -> dict[Any, list[dict[str, Any]]]:
        """The lines of sales, if there are not too many."""
        select = Line.select(Line.sale_id, Line.position).order_by(Line.position)
        return await self.fetch_children(select, Line.sale_id, sales, most=most)

    @query("probe.enter", writes=True, example={"number": 1})
    async def enter(self, number: int) -> Insertion:
        """A buyer, unless there is one with this address."""
        return await self.insert_once(Buyer, buyer(number), Buyer.email)

    @query("probe.change_nothing", writes=True)
    async def change_nothing(self) -> None:
        """Say that it writes."""
        await self.fetch_sql("SELECT 1")


def buyer(number: int) -> dict[str, Any]:
    """The row of a buyer."""
    return {"id": UUID(int=number), "email": f"{number}@example.com"}


def sale(number: int, **changes: Any) -> dict[str, Any]:
    """The row of a sale; seven at a time are sold at the same moment."""
    return {
        "id": UUID(int=number),
        "buyer_id": BUYER,
        "status": "booked",
        "currency": "EUR",
        "total_cents": number,
        "made_at": BEGINNING + timedelta(seconds=number // 7),
    } | changes


def line(number: int, position: int) -> dict[str, Any]:
    """The row of an article of a sale."""
    return {
        "sale_id": UUID(int=number),
        "position": position,
        "sku": "TEA-1",
        "quantity": 1,
        "unit_price_cents": position,
    }


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory."""
    async with connect() as connected:
        yield connected


@pytest.fixture
def probe(service: Service) -> Probe:
    """A repository on the service's database."""
    return Probe(service.manager)


@pytest.fixture
def sent(service: Service) -> list[str]:
    """The SQL of every statement from now on."""
    statements: list[str] = []
    service.manager.observe(lambda statement: statements.append(statement.sql))
    return statements


async def fill(probe: Probe, sales: Sequence[dict[str, Any]]) -> None:
    """Store sales of one buyer."""
    async with probe.manager.transaction("fill"):
        await probe.insert_all(Buyer, [buyer(1)])
        await probe.insert_all(Sale, sales)


# Reading


@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        ("boundless", r"probe\.boundless has no limit: add \.limit\(…\)"),
        ("whole", r"probe\.whole reads whole rows: name the columns in \.select\(…\)"),
        ("whole_row", r"probe\.whole_row reads whole rows: name the columns"),
    ],
)
async def test_a_read_without_bound_or_columns_is_refused(
    probe: Probe, sent: list[str], method: str, remedy: str
) -> None:
    """Before it is sent, with the name of the query and with what helps."""
    async with probe.manager.transaction("test", read_only=True):
        with pytest.raises(QueryRefused, match=remedy):
            await getattr(probe, method)()
    assert sent == []


async def test_pages_have_no_gaps_and_no_repeats(probe: Probe) -> None:
    """Though many sales were sold at the same moment, also where one page ends."""
    numbers = [number * 37 % 251 for number in range(1, 251)]  # in no sale
    await fill(probe, [sale(number) for number in numbers])
    sales, pages, after = Sales(probe.manager), list[Sequence[SaleSummary]](), None
    async with probe.manager.transaction("test", read_only=True):
        while page := await sales.page(after=after, limit=100):
            pages.append(page)
            after = (page[-1].made_at, page[-1].id)
    assert [len(page) for page in pages] == [100, 100, 50]
    found = [each.id for page in pages for each in page]
    assert found == [UUID(int=number) for number in range(1, 251)]


async def test_children_of_many_parents_are_one_statement(probe: Probe, sent: list[str]) -> None:
    """Fifty sales with their lines are two statements; a sale without lines has none."""
    lines = [line(number, position) for number in range(1, 50) for position in range(1, 4)]
    await fill(probe, [sale(number) for number in range(1, 51)])
    sales = Sales(probe.manager)
    async with probe.manager.transaction("test"):
        await probe.insert_all(Line, lines)
        sent.clear()
        page = await sales.page(limit=50)
        children = await sales.lines_of([each.id for each in page])
    assert len(sent) == 2
    found = {key: [each.position for each in lines] for key, lines in children.items()}
    assert found == {UUID(int=number): [1, 2, 3] for number in range(1, 50)} | {UUID(int=50): []}


async def test_more_children_than_expected_are_refused(probe: Probe) -> None:
    """A part of them would look like all of them."""
    await fill(probe, [sale(1), sale(2)])
    ids = [UUID(int=1), UUID(int=2)]
    async with probe.manager.transaction("test"):
        await probe.insert_all(Line, [line(1, 1), line(1, 2), line(2, 1)])
        found = await probe.lines(ids, most=3)
        assert {key: len(lines) for key, lines in found.items()} == {ids[0]: 2, ids[1]: 1}
        with pytest.raises(QueryRefused, match=r"probe\.lines finds more than 2 children of 2"):
            await probe.lines(ids, most=2)
        assert await probe.lines([], most=2) == {}


async def test_children_that_no_parent_would_find_are_refused(probe: Probe) -> None:
    """Because their keys are told in another form, or not read at all."""
    await fill(probe, [sale(1)])
    async with probe.manager.transaction("test"):
        await probe.insert_all(Line, [line(1, 1)])
        with pytest.raises(QueryRefused, match=r"probe\.lines .* reads a UUID there"):
            await probe.lines([str(UUID(int=1))], most=2)  # type: ignore[list-item]
        with pytest.raises(QueryRefused, match="reads a NoneType there: select it"):
            await probe.fetch_children(Line.select(Line.sku), Line.sale, [UUID(int=1)])


async def test_sql_by_hand_takes_parameters(probe: Probe) -> None:
    """Whatever they look like, they are values."""
    async with probe.manager.transaction("test", read_only=True):
        found = await probe.fetch_sql("SELECT %s::text, %s::int + 1", "it's; -- 100%", 41)
    assert found == [("it's; -- 100%", 42)]


@pytest.mark.parametrize(
    "sql",
    [
        "SET search_path = public",
        "SELECT 1; RESET ALL",
        "SELECT set_config('work_mem', '1MB', false)",
        "SELECT pg_advisory_lock(1)",
        "LISTEN sales",
        "/**/SET/**/search_path = public",
        'SELECT "pg_advisory_lock"(1)',
        "CREATE TEMP TABLE mine (id int)",
        "DO $$ BEGIN SET search_path = public; END $$",
        "COMMIT",
        "SELECT 1; ROLLBACK",
        "SELEC 1",
    ],
)
async def test_sql_by_hand_changes_no_session(probe: Probe, sent: list[str], sql: str) -> None:
    """It is refused before it is sent."""
    async with probe.manager.transaction("test"):
        with pytest.raises(TransactionMisused):
            await probe.fetch_sql(sql)
    assert sent == []


# Writing


async def test_an_insertion_says_what_it_was(probe: Probe) -> None:
    """Inserted, then a duplicate; in one transaction and in two."""
    async with probe.manager.transaction("first"):
        assert await probe.enter(1) is Insertion.INSERTED
        assert await probe.enter(1) is Insertion.DUPLICATE
    async with probe.manager.transaction("second"):
        assert await probe.enter(1) is Insertion.DUPLICATE


@pytest.mark.parametrize(
    ("first_commits", "expected"), [(True, Insertion.DUPLICATE), (False, Insertion.INSERTED)]
)
async def test_two_insertions_at_once_wait_for_each_other(
    service: Service, probe: Probe, *, first_commits: bool, expected: Insertion
) -> None:
    """The second one knows what it is when the first one has ended."""
    inserted, end = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with probe.manager.transaction("first"):
            assert await probe.enter(1) is Insertion.INSERTED
            inserted.set()
            await end.wait()
            if not first_commits:
                raise Undone

    async def second() -> Insertion:
        async with probe.manager.transaction("second"):
            return await probe.enter(1)

    one = asyncio.create_task(first())
    await inserted.wait()
    other = asyncio.create_task(second())
    await eventually(lambda: rows(service, WAITING))
    end.set()
    assert await other is expected
    await asyncio.wait([one])
    assert isinstance(one.exception(), Undone) is not first_commits
    assert await count(service, "buyers") == 1


async def test_many_rows_are_few_statements(
    service: Service, probe: Probe, sent: list[str]
) -> None:
    """A thousand in each."""
    async with probe.manager.transaction("test"):
        assert await probe.insert_all(Buyer, [buyer(each) for each in range(2500)]) == 2500
        assert len(sent) == 3
        assert await probe.insert_all(Buyer, []) == 0
        assert len(sent) == 3
    assert await count(service, "buyers") == 2500


async def test_only_the_keys_of_new_rows_are_returned(service: Service, probe: Probe) -> None:
    """Those that were there before are left as they are."""
    async with probe.manager.transaction("test"):
        await probe.insert_all(Buyer, [buyer(2), buyer(4)])
        new = await probe.insert_all_once(Buyer, [buyer(each) for each in range(1, 6)], Buyer.id)
    assert new == {(UUID(int=each),) for each in (1, 3, 5)}
    assert await count(service, "buyers") == 5


async def test_an_upsert_changes_the_named_columns_only(service: Service, probe: Probe) -> None:
    """Of rows that are there; the others are inserted as they are."""
    await fill(probe, [sale(1), sale(2)])
    changed = [sale(each, status="cancelled", total_cents=99) for each in (2, 3)]
    async with probe.manager.transaction("test"):
        count_ = await probe.upsert(Sale, changed, Sale.id, update=[Sale.status])
    assert count_ == 2
    assert await rows(service, "SELECT status, total_cents FROM sales ORDER BY id") == [
        ("booked", 1),
        ("cancelled", 2),
        ("cancelled", 99),
    ]


async def test_a_write_outside_a_transaction_is_refused(probe: Probe, sent: list[str]) -> None:
    """Before anything is sent, by the name of the query."""
    with pytest.raises(WriteOutsideTransaction, match=r"probe\.change_nothing needs `async with"):
        await probe.change_nothing()
    assert sent == []


# Registration


@pytest.mark.parametrize("name", ["sales", "Sales.add", "sales.", "sales.by-id", "sales add"])
def test_a_name_of_another_form_is_refused_at_once(name: str) -> None:
    """When the class is defined, with a name that would do."""
    with pytest.raises(ValueError, match=r"call a query like parcels\.by_id"):
        query(name)


def test_names_are_unique(service: Service) -> None:
    """Two queries of one name would be one in metrics and logs."""
    names = Counter(
        registered.name
        for repository in service.repositories
        for registered, _ in repository.queries()
    )
    assert names
    assert set(names.values()) == {1}
