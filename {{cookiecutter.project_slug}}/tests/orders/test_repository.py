"""What the queries of this slice find."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from acme_orders.chassis.testing import ServiceUnderTest
from acme_orders.orders.models import Customer, Line, Order
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


async def test_revenue_is_that_of_each_day(service: ServiceUnderTest, orders: Orders) -> None:
    """The newest day first, each status for itself, and none before `since`."""
    days = [date(2026, 3, day) for day in (3, 1, 6, 2, 4, 5)]
    made = [order(placed_at=f"{day}T12:00:00Z", lines=[line(day.day, 10)]) for day in days]
    late = [order(placed_at="2026-03-06T23:59:59Z", lines=[line(1, 5)]) for _ in range(3)]
    async with service.transaction():
        await orders.add_all([*late, *made])
        cancelled = Order.id.in_([each.order_id for each in late[:2]])
        await service.manager.execute(Order.update(status="cancelled").where(cancelled))
        found = await orders.revenue(since=date(2026, 3, 2))
    assert found == [
        Revenue(date(2026, 3, 6), "accepted", orders=2, total_cents=65),
        Revenue(date(2026, 3, 6), "cancelled", orders=2, total_cents=10),
        *(Revenue(date(2026, 3, day), "accepted", 1, day * 10) for day in (5, 4, 3, 2)),
    ]


@pytest.mark.usefixtures("stored")
async def test_an_order_is_found_among_others(service: ServiceUnderTest, orders: Orders) -> None:
    """With its own lines, in their order; one that is not there is none, and no error."""
    lines = [line(quantity, 10) for quantity in (7, 8, 9)]
    async with service.transaction():
        await orders.add_all([order(4, lines=lines)])
    async with service.transaction():  # the first line comes behind the others in its table
        first = Line.update(quantity=6).where(Line.order == UUID(int=4), Line.position == 1)
        await service.manager.execute(first)
        for way in ("index", "bitmap"):  # they would happen to sort them
            await service.manager.fetch_sql(f"SET LOCAL enable_{way}scan = off")
        found = [await orders.by_id(UUID(int=number)) for number in (2, 4, 5)]
    assert [each and [one.quantity for one in each.lines] for each in found] == [
        [2],
        [6, 8, 9],
        None,
    ]


async def test_a_customer_is_known_again(service: ServiceUnderTest, orders: Orders) -> None:
    """By the email, however many there are."""
    emails = ["ada@example.com", "bob@example.com", "eve@example.com"]
    for email in (*emails, *reversed(emails)):
        async with service.transaction():
            await orders.add_all([order(customer_email=email)])
    async with service.transaction():
        select = Order.select(Customer.email).join(Customer)
        found = await service.manager.fetch(select.tuples())
    assert sorted(found) == sorted((each,) for each in [*emails, *emails])
