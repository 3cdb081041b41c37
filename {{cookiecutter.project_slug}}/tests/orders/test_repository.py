"""What the queries of this slice find."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from acme_orders.chassis.testing import ServiceUnderTest
from acme_orders.orders.repository import Orders, Revenue

from tests.orders.examples import line, order

DAYS = ("2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", "2026-03-02T12:00:00Z")


@pytest.fixture
async def stored(service: ServiceUnderTest, orders: Orders) -> None:
    """Three orders; the totals of the second day are 20 and 30."""
    made = [
        order(number, placed_at=day, lines=[line(number, 10)])
        for number, day in enumerate(DAYS, start=1)
    ]
    async with service.transaction():
        assert await orders.add_all(made) == [True, True, True]


async def test_an_order_is_added_once(service: ServiceUnderTest, orders: Orders) -> None:
    """The first one stands, also if both come at once."""
    async with service.transaction():
        assert await orders.add_all([order(1), order(2), order(1, currency="USD")]) == [
            *[True, True, False]
        ]
    async with service.transaction():
        assert await orders.add_all([order(1, currency="USD")]) == [False]
        assert [each.currency for each in await orders.page()] == ["EUR", "EUR"]


@pytest.mark.usefixtures("stored")
async def test_pages_follow_each_other(service: ServiceUnderTest, orders: Orders) -> None:
    """The oldest first; none is missing, none is there twice."""
    async with service.transaction():
        first = await orders.page(limit=2)
        second = await orders.page(limit=2, after=(first[-1].placed_at, first[-1].id))
        assert [each.id.int for each in first] == [1, 2]
        assert [each.id.int for each in second] == [3]
        assert second[0].placed_at == datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.usefixtures("stored")
async def test_revenue_is_that_of_each_day(service: ServiceUnderTest, orders: Orders) -> None:
    """The newest day first, and none before `since`."""
    second = Revenue(date(2026, 3, 2), "accepted", orders=2, total_cents=50)
    async with service.transaction():
        assert await orders.revenue(since=date(2026, 3, 2)) == [second]
        first = Revenue(date(2026, 3, 1), "accepted", orders=1, total_cents=10)
        assert await orders.revenue(since=date(2026, 1, 1)) == [second, first]


async def test_an_order_that_is_not_there_is_none(
    service: ServiceUnderTest, orders: Orders
) -> None:
    """And no error."""
    async with service.transaction():
        assert await orders.by_id(UUID(int=1)) is None
