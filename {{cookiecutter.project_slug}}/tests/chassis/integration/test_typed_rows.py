"""Rows come as objects of the class that a query names; what does not fit it is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

import pytest
from pydantic import BaseModel

from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.errors import QueryRefused
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect
from tests.chassis.integration.test_repository import BUYER, buyer, line, sale
from tests.chassis.slices.sales.models import Buyer, Line, Sale
from tests.chassis.slices.sales.repository import Sales

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema


@dataclass(frozen=True)
class Total:
    """What somebody pays."""

    unit: ClassVar[str] = "cents"  # no field of a row

    id: UUID
    total_cents: int


@dataclass(frozen=True)
class Article:
    """A line of a sale."""

    position: int
    sku: str


class Bill(BaseModel):
    """The same as `Total`, made by Pydantic."""

    id: UUID
    total_cents: int


@dataclass(frozen=True)
class Wrong:
    """Has a text for a number."""

    id: UUID
    currency: int


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """With three sales, two of which have lines."""
    async with connect() as connected:
        await store(connected)
        yield connected


@asynccontextmanager
async def reading(service: Service) -> AsyncIterator[Repository]:
    """A repository inside a transaction."""
    async with service.manager.transaction("read", read_only=True):
        yield Repository(service.manager)


async def store(service: Service) -> None:
    """Make the rows."""
    repository = Repository(service.manager)
    async with service.manager.transaction("store"):
        await repository.insert_all(Buyer, [{**buyer(1), "id": BUYER}])
        await repository.insert_all(Sale, [sale(number) for number in (1, 2, 3)])
        await repository.insert_all(Line, [line(1, 1), line(1, 2), line(2, 1)])


TOTALS = [(UUID(int=number), number) for number in (1, 2, 3)]


@pytest.mark.parametrize("kind", [Total, Bill])
async def test_each_row_is_an_object(service: Service, kind: type[Total | Bill]) -> None:
    """One, all, and a page of them."""
    async with reading(service) as repository:
        select = Sale.select(Sale.id, Sale.total_cents)
        one = await repository.fetch_one(select.where(Sale.id == UUID(int=2)), kind)
        assert one == kind(id=UUID(int=2), total_cents=2)
        assert await repository.fetch_one(select.where(Sale.id == UUID(int=9)), kind) is None
        every = await repository.fetch_all(select.order_by(Sale.id).limit(10), kind)
        assert [(each.id, each.total_cents) for each in every] == TOTALS
        page = await repository.fetch_page(
            select, kind, order=(Sale.id,), after=(UUID(int=1),), limit=1
        )
        assert [(each.id, each.total_cents) for each in page] == TOTALS[1:2]


async def test_children_need_not_name_their_parent(service: Service) -> None:
    """They are told apart by it already."""
    async with reading(service) as repository:
        select = Line.select(Line.sale_id, Line.position, Line.sku).order_by(Line.position)
        keys = [UUID(int=number) for number in (1, 2, 3)]
        found = await repository.fetch_children(select, Line.sale_id, keys, Article)
        assert [len(found[key]) for key in keys] == [2, 1, 0]
        assert found[keys[0]] == [Article(1, "TEA-1"), Article(2, "TEA-1")]


async def test_other_columns_than_fields_are_refused(service: Service) -> None:
    """Both are named: one too many would be lost in silence."""
    async with reading(service) as repository:
        for columns in ([Sale.id], [Sale.id, Sale.total_cents, Sale.status]):
            with pytest.raises(QueryRefused, match="and Total has id, total_cents"):
                await repository.fetch_all(Sale.select(*columns).limit(1), Total)


async def test_a_value_of_another_type_is_refused(service: Service) -> None:
    """With the column, and without the value, which may be personal."""
    async with reading(service) as repository:
        select = Sale.select(Sale.id, Sale.currency).limit(1)
        with pytest.raises(QueryRefused, match="currency of Wrong: Input should be a vali") as told:
            await repository.fetch_all(select, Wrong)
        assert "EUR" not in str(told.value)


async def mypy_refuses(repository: Repository) -> None:
    """What is wrong here; should mypy no longer say so, it complains about these comments."""
    Sale.select(Sale.no_such)  # type: ignore[attr-defined]
    await repository.fetch_all("no query")  # type: ignore[call-overload]
    bills = await repository.fetch_all(Sale.select(Sale.id).limit(1), Bill)
    assert bills[0].no_such  # type: ignore[attr-defined]


async def mypy_refuses_what_nobody_awaits(outbox: Outbox, sales: Sales) -> None:
    """An event that is lost, and a condition that is always true."""
    outbox.add("sale.booked", Payload())  # type: ignore[unused-awaitable]
    if not sales.by_id(UUID(int=1)):  # type: ignore[truthy-bool]
        await outbox.add("sale.missed", Payload())
