"""Orders have the same effects one by one and many at once, and batches never block each other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars

from acme_orders.chassis.database.manager import retryable
from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.process.service import Service
from acme_orders.orders.handlers import place_order, place_orders
from acme_orders.orders.messages import ORDER_ACCEPTED, OrderPlaced
from acme_orders.orders.models import Customer, Order
from acme_orders.orders.repository import Orders

from tests.conftest import Connect, count, eventually, rows

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

EFFECTS = {
    "orders": """
        SELECT orders.id::text, email, status, currency, total_cents, placed_at
        FROM orders JOIN customers ON customers.id = customer_id ORDER BY 1
    """,
    "lines": """
        SELECT order_id::text, position, sku, quantity, unit_price_cents
        FROM order_lines ORDER BY 1, 2
    """,
    "customers": "SELECT email FROM customers ORDER BY 1",
    "audit entries": "SELECT event_type, payload::text FROM audit_log ORDER BY 2",
    "events": "SELECT type, body, extensions::text FROM outbox ORDER BY 2, 3",
}
WAITING = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@dataclass(frozen=True)
class Received:
    """A message as a handler of many gets it."""

    correlation_id: str
    payload: OrderPlaced


Batch = Sequence[Received]
Handle = Callable[[Service, Batch], Awaitable[None]]


async def one_by_one(service: Service, batch: Batch) -> None:
    """As the consumer calls the handler of one."""
    orders, outbox = Orders(service.manager), Outbox(service.manager)
    for each in batch:
        with bound_contextvars(correlation_id=each.correlation_id):
            await place_order(each.payload, orders=orders, outbox=outbox)


async def at_once(service: Service, batch: Batch) -> None:
    """As the consumer calls the handler of many."""
    orders, outbox = Orders(service.manager), Outbox(service.manager)
    await place_orders(batch, orders=orders, outbox=outbox)


MODES = pytest.mark.parametrize("handle", [one_by_one, at_once])


async def process(service: Service, batch: Batch, handle: Handle) -> None:
    """In one transaction that may run again, like a batch of the consumer."""
    await service.manager.run("batch", retryable(lambda: handle(service, batch)))


def order(number: int, email: str = "ada@example.com", **changes: Any) -> OrderPlaced:
    """An order of this customer."""
    example = OrderPlaced.example()
    body = {**example, "order_id": UUID(int=number), "customer_email": email, **changes}
    return OrderPlaced.model_validate(body)


def batch_of(*orders: OrderPlaced) -> Batch:
    """Each in a message of its own."""
    return [Received(f"c-{each}", placed) for each, placed in enumerate(orders)]


LINES = st.fixed_dictionaries({
    "sku": st.sampled_from(("TEA-1", "it's 100%", "\\grün\U0001f600")),
    "quantity": st.integers(1, 3),
    "unit_price_cents": st.sampled_from((0, 450, 10**9)),
})  # fmt: skip
ORDERS = st.builds(
    order,
    st.integers(1, 5),  # few, so that the same one comes again, also with other content
    st.sampled_from(("ada@example.com", "bob@example.com", "o'neil\"\\%s@example.com")),
    lines=st.lists(LINES, min_size=1, max_size=3),
    currency=st.sampled_from(("EUR", "USD")),
    placed_at=st.sampled_from(("2026-01-31T12:00:00Z", "2026-02-01T00:00:00.000001+05:30")),
)


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(ORDERS, max_size=3), st.lists(ORDERS, min_size=1, max_size=8))
def test_many_at_once_are_the_same_as_one_by_one(
    connect: Connect, stored: list[OrderPlaced], orders: list[OrderPlaced]
) -> None:
    """Of new orders, of those that are stored already, and of those that come twice."""
    asyncio.run(same(connect, batch_of(*stored), batch_of(*orders)))


async def same(connect: Connect, before: Batch, batch: Batch) -> None:
    """See that it makes no difference how these are processed."""
    messages = [*before, *batch]
    async with connect() as service:
        alone = await effects(service, *([each] for each in messages), handle=one_by_one)
        joined = await effects(service, before, batch, handle=one_by_one)
        bulk = await effects(service, before, batch, handle=at_once)
    assert bulk == joined
    # Alone, an order that is there already leaves its customer behind, if that one is new.
    assert set(joined.pop("customers")) <= set(alone.pop("customers"))
    assert joined == alone
    assert len(bulk["orders"]) == len({each.payload.order_id for each in messages})
    assert len(bulk["events"]) == len(bulk["audit entries"]) == len(bulk["orders"])


async def effects(
    service: Service, *batches: Batch, handle: Handle
) -> dict[str, list[tuple[Any, ...]]]:
    """What these batches leave in an empty database."""
    await rows(service, "TRUNCATE customers, orders, order_lines, audit_log, outbox")
    for each in batches:
        await process(service, each, handle)
    return {name: await rows(service, sql) for name, sql in EFFECTS.items()}


@MODES
async def test_an_order_that_comes_twice_is_one_event(connect: Connect, handle: Handle) -> None:
    """The first one counts, with its lines and its correlation, though another has the same id."""
    line = OrderPlaced.example()["lines"][0]
    other = order(1, "bob@example.com", lines=[line, line])
    async with connect() as service:
        await process(service, batch_of(order(1), order(1), other), handle)
        await process(service, batch_of(other, order(1)), handle)
        found = await rows(service, "SELECT type, extensions ->> 'correlationid' FROM outbox")
        assert found == [(ORDER_ACCEPTED, "c-0")]
        for table in ("orders", "order_lines", "audit_log"):
            assert await count(service, table) == 1, table


class Blocker(Repository):
    """Somebody else who writes the same rows."""

    @query("blocker.customer", writes=True)
    async def customer(self, number: int) -> None:
        """Enter a customer."""
        await self.insert_all(Customer, [{"id": UUID(int=number), "email": email(number)}])

    @query("blocker.order", writes=True)
    async def order(self, number: int) -> None:
        """Enter an order of a customer who is there."""
        found = await self.fetch_all(Customer.select(Customer.id).limit(1))
        placed = order(number)
        row = {
            "id": placed.order_id,
            "customer_id": found[0]["id"],
            "status": "accepted",
            "currency": placed.currency,
            "total_cents": placed.total_cents,
            "placed_at": placed.placed_at,
        }
        await self.insert_all(Order, [row])


class Undone(Exception):
    """Ends a transaction without a COMMIT."""


def email(number: int) -> str:
    """The address of a customer."""
    return f"{number:02}@example.com"


@MODES
@pytest.mark.parametrize("contested", ["customers", "orders"])
async def test_batches_in_opposite_order_do_not_deadlock(
    connect: Connect, contested: str, handle: Handle
) -> None:
    """Both want all rows, and somebody has the one in the middle until both of them wait.

    If each took them in its own order, each would have a half by then, and want that of the other.
    """
    numbers, middle, held, end = range(1, 20), 10, asyncio.Event(), asyncio.Event()
    async with connect() as service:
        blocker = Blocker(service.manager)
        if contested == "customers":
            block, firsts = blocker.customer, (100, 200)
            customers = [email(each) for each in numbers]
        else:  # the same orders, of a customer who is there already
            block, firsts = blocker.order, (0, 0)
            customers = ["ada@example.com" for _ in numbers]
            await process(service, batch_of(order(99)), at_once)
        before = await count(service, "outbox")

        async def somebody_else() -> None:
            async with service.manager.transaction("somebody else"):
                await block(middle)
                held.set()
                await end.wait()
                raise Undone

        other = asyncio.create_task(somebody_else())
        await asyncio.wait_for(held.wait(), 30)
        batches = [
            [order(first + each, who) for each, who in zip(numbers, customers, strict=True)]
            for first in firsts
        ]
        both = [
            asyncio.create_task(process(service, batch_of(*each), handle))
            for each in (batches[0], reversed(batches[1]))
        ]
        await eventually(lambda: waiting(service, 2))
        end.set()
        await asyncio.gather(*both)
        with pytest.raises(Undone):
            await other
        new = {placed.order_id for each in batches for placed in each}
        assert await count(service, "outbox") - before == len(new)
        assert conflicts(service) == 0


async def waiting(service: Service, number: int) -> bool:
    """Whether so many transactions wait for a row of another."""
    return len(await rows(service, WAITING)) == number


def conflicts(service: Service) -> float:
    """How often a transaction had to run again."""
    return sum(
        sample.value
        for metric in service.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "db_transaction_retries_total"
    )
