"""Sales have the same effects one by one and many at once, and batches never block each other."""

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

from tests.chassis.conftest import Connect, count, eventually, rows
from tests.chassis.slices.sales.handlers import make_sale, make_sales
from tests.chassis.slices.sales.messages import SALE_BOOKED, SaleMade
from tests.chassis.slices.sales.models import Buyer, Sale
from tests.chassis.slices.sales.repository import Sales

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

EFFECTS = {
    "sales": """
        SELECT sales.id::text, email, status, currency, total_cents, made_at
        FROM sales JOIN buyers ON buyers.id = buyer_id ORDER BY 1
    """,
    "lines": """
        SELECT sale_id::text, position, sku, quantity, unit_price_cents
        FROM sale_lines ORDER BY 1, 2
    """,
    "buyers": "SELECT email FROM buyers ORDER BY 1",
    "audit entries": "SELECT event_type, payload::text FROM journal ORDER BY 2",
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
    payload: SaleMade


Batch = Sequence[Received]
Handle = Callable[[Service, Batch], Awaitable[None]]


async def one_by_one(service: Service, batch: Batch) -> None:
    """As the consumer calls the handler of one."""
    sales, outbox = Sales(service.manager), Outbox(service.manager)
    for each in batch:
        with bound_contextvars(correlation_id=each.correlation_id):
            await make_sale(each.payload, sales=sales, outbox=outbox)


async def at_once(service: Service, batch: Batch) -> None:
    """As the consumer calls the handler of many."""
    sales, outbox = Sales(service.manager), Outbox(service.manager)
    await make_sales(batch, sales=sales, outbox=outbox)


MODES = pytest.mark.parametrize("handle", [one_by_one, at_once])


async def process(service: Service, batch: Batch, handle: Handle) -> None:
    """In one transaction that may run again, like a batch of the consumer."""
    await service.manager.run("batch", retryable(lambda: handle(service, batch)))


def sale(number: int, email: str = "ada@example.com", **changes: Any) -> SaleMade:
    """A sale to this buyer."""
    example = SaleMade.example()
    body = {**example, "sale_id": UUID(int=number), "buyer_email": email, **changes}
    return SaleMade.model_validate(body)


def batch_of(*sales: SaleMade) -> Batch:
    """Each in a message of its own."""
    return [Received(f"c-{each}", sold) for each, sold in enumerate(sales)]


LINES = st.fixed_dictionaries({
    "sku": st.sampled_from(("TEA-1", "it's 100%", "\\grün\U0001f600")),
    "quantity": st.integers(1, 3),
    "unit_price_cents": st.sampled_from((0, 450, 10**9)),
})  # fmt: skip
SALES = st.builds(
    sale,
    st.integers(1, 5),  # few, so that the same one comes again, also with other content
    st.sampled_from(("ada@example.com", "bob@example.com", "o'neil\"\\%s@example.com")),
    lines=st.lists(LINES, min_size=1, max_size=3),
    currency=st.sampled_from(("EUR", "USD")),
    made_at=st.sampled_from(("2026-01-31T12:00:00Z", "2026-02-01T00:00:00.000001+05:30")),
)


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(SALES, max_size=3), st.lists(SALES, min_size=1, max_size=8))
def test_many_at_once_are_the_same_as_one_by_one(
    connect: Connect, stored: list[SaleMade], sales: list[SaleMade]
) -> None:
    """Of new sales, of those that are stored already, and of those that come twice."""
    asyncio.run(same(connect, batch_of(*stored), batch_of(*sales)))


async def same(connect: Connect, before: Batch, batch: Batch) -> None:
    """See that it makes no difference how these are processed."""
    messages = [*before, *batch]
    async with connect() as service:
        alone = await effects(service, *([each] for each in messages), handle=one_by_one)
        joined = await effects(service, before, batch, handle=one_by_one)
        bulk = await effects(service, before, batch, handle=at_once)
    assert bulk == joined
    # Alone, a sale that is there already leaves its buyer behind, if that one is new.
    assert set(joined.pop("buyers")) <= set(alone.pop("buyers"))
    assert joined == alone
    assert len(bulk["sales"]) == len({each.payload.sale_id for each in messages})
    assert len(bulk["events"]) == len(bulk["audit entries"]) == len(bulk["sales"])


async def effects(
    service: Service, *batches: Batch, handle: Handle
) -> dict[str, list[tuple[Any, ...]]]:
    """What these batches leave in an empty database."""
    await rows(service, "TRUNCATE buyers, sales, sale_lines, journal, outbox")
    for each in batches:
        await process(service, each, handle)
    return {name: await rows(service, sql) for name, sql in EFFECTS.items()}


@MODES
async def test_an_order_that_comes_twice_is_one_event(connect: Connect, handle: Handle) -> None:
    """The first one counts, with its lines and its correlation, though another has the same id."""
    line = SaleMade.example()["lines"][0]
    other = sale(1, "bob@example.com", lines=[line, line])
    async with connect() as service:
        await process(service, batch_of(sale(1), sale(1), other), handle)
        await process(service, batch_of(other, sale(1)), handle)
        found = await rows(service, "SELECT type, extensions ->> 'correlationid' FROM outbox")
        assert found == [(SALE_BOOKED, "c-0")]
        for table in ("sales", "sale_lines", "journal"):
            assert await count(service, table) == 1, table


class Blocker(Repository):
    """Somebody else who writes the same rows."""

    @query("blocker.buyer", writes=True)
    async def buyer(self, number: int) -> None:
        """Enter a buyer."""
        await self.insert_all(Buyer, [{"id": UUID(int=number), "email": email(number)}])

    @query("blocker.sale", writes=True)
    async def sale(self, number: int) -> None:
        """Enter a sale of a buyer who is there."""
        found = await self.fetch_all(Buyer.select(Buyer.id).limit(1))
        sold = sale(number)
        row = {
            "id": sold.sale_id,
            "buyer_id": found[0]["id"],
            "status": "booked",
            "currency": sold.currency,
            "total_cents": sold.total_cents,
            "made_at": sold.made_at,
        }
        await self.insert_all(Sale, [row])


class Undone(Exception):
    """Ends a transaction without a COMMIT."""


def email(number: int) -> str:
    """The address of a buyer."""
    return f"{number:02}@example.com"


@MODES
@pytest.mark.parametrize("contested", ["buyers", "sales"])
async def test_batches_in_opposite_order_do_not_deadlock(
    connect: Connect, contested: str, handle: Handle
) -> None:
    """Both want all rows, and somebody has the one in the middle until both of them wait.

    If each took them in its own sale, each would have a half by then, and want that of the other.
    """
    numbers, middle, held, end = range(1, 20), 10, asyncio.Event(), asyncio.Event()
    async with connect(lock_timeout=60, statement_timeout=60) as service:
        blocker = Blocker(service.manager)
        if contested == "buyers":
            block, firsts = blocker.buyer, (100, 200)
            buyers = [email(each) for each in numbers]
        else:  # the same sales, of a buyer who is there already
            block, firsts = blocker.sale, (0, 0)
            buyers = ["ada@example.com" for _ in numbers]
            await process(service, batch_of(sale(99)), at_once)
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
            [sale(first + each, who) for each, who in zip(numbers, buyers, strict=True)]
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
        new = {sold.sale_id for each in batches for sold in each}
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
