"""CancelledError out of a handler, though nobody cancelled it: that message fails, and no other.

Libraries do that when their connection closes, and code does it by mistake. The same goes for
SystemExit and its like.
"""

import asyncio
import sys
import time  # feature: aiopg
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.database import driver  # feature: aiopg
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, Received
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, count, eventually, rows, send, settled, sold
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver, watching
from tests.chassis.integration.outbox_events import metric
from tests.chassis.integration.test_protection import everything
from tests.chassis.slices.sales.messages import (
    SALE_BOOKED,
    SALE_MADE,
    SaleBooked,
    SaleMade,
)
from tests.chassis.slices.sales.repository import Sales

Way = Callable[[Service], Awaitable[Any]]


def soon(action: Callable[[], object]) -> None:
    """Do it while somebody awaits."""
    asyncio.get_running_loop().call_later(0.01, action)


async def sleep(_: Service) -> None:
    """The handler's own task is cancelled in its sleep, by code that took it for a child."""
    task = asyncio.current_task()
    assert task is not None
    soon(task.cancel)
    await asyncio.sleep(30)


async def itself(_: Service) -> None:
    """It is cancelled after the last thing that it awaits; the next one is the COMMIT."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def child(_: Service) -> None:
    """A child task, such as the reader of a connection that closes."""
    request = asyncio.create_task(asyncio.sleep(30))
    soon(request.cancel)
    await request


async def future(_: Service) -> None:
    """An answer that somebody else gives up."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    soon(answer.cancel)
    await answer


async def gathered(_: Service) -> None:
    """One of several."""
    others = [asyncio.create_task(asyncio.sleep(30)) for _ in range(3)]
    soon(others[1].cancel)
    try:
        await asyncio.gather(*others)
    finally:
        for each in others:
            each.cancel()


async def limited(_: Service) -> None:
    """Inside a time limit that has not passed."""
    async with asyncio.timeout(30):
        await future(_)


async def limited_after(service: Service) -> None:
    """After a time limit that has passed: what it cancelled is settled again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)
    await future(service)


async def waited_for(service: Service) -> None:
    """Inside another kind of time limit."""
    await asyncio.wait_for(future(service), 30)


async def grouped(service: Service) -> None:
    """A group of tasks whose parent is cancelled by one of them."""
    task = asyncio.current_task()
    assert task is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(30))
        soon(task.cancel)


async def locked(_: Service) -> None:
    """A lock that is not given."""
    lock, task = asyncio.Lock(), asyncio.current_task()
    assert task is not None
    await lock.acquire()
    soon(task.cancel)
    await lock.acquire()


async def statement(service: Service) -> None:
    """In the middle of a statement, whose connection is of no use afterwards."""
    task = asyncio.current_task()
    assert task is not None
    soon(task.cancel)
    await Sales(service.manager).fetch_sql("SELECT pg_sleep(10)")


async def savepoint(service: Service) -> None:
    """Inside a part of the transaction that may fail alone."""
    async with service.manager.savepoint():
        await future(service)


async def event(service: Service) -> None:
    """While an event is added."""
    outbox = Outbox(service.manager)
    sale = valid_sale()
    await outbox.add(SALE_BOOKED, SaleBooked(sale_id=sale.sale_id, total_cents=sale.total_cents))
    raise asyncio.CancelledError


async def swallowed(service: Service) -> None:
    """After one that the handler has caught, as if it had not been meant."""
    with suppress(asyncio.CancelledError):
        await sleep(service)
    await future(service)


async def exits(_: Service) -> None:
    """A parser of a command line that does not like its arguments."""
    sys.exit(2)


async def interrupted(_: Service) -> None:
    """Somebody's idea of an error."""
    raise KeyboardInterrupt


async def closed(_: Service) -> None:
    """Another one."""
    raise GeneratorExit


async def several(_: Service) -> None:
    """What a group raises whose tasks ended like this."""
    raise BaseExceptionGroup("several", [asyncio.CancelledError(), GeneratorExit()])


WAYS: tuple[Way, ...] = (
    sleep, itself, child, future, gathered, limited, limited_after, waited_for, grouped, locked,
    statement, savepoint, event, swallowed, exits, interrupted, closed, several,
)  # fmt: skip


def valid_sale(**changes: Any) -> SaleMade:
    """A valid sale."""
    return SaleMade.model_validate({**SaleMade.example(), **changes})


def way(sale: SaleMade) -> Way | None:
    """What is to happen to a sale; most are good."""
    return next((each for each in WAYS if each.__name__ == sale.lines[0].sku), None)


def handled_alone(service: Service, good: Handler) -> Handler:
    """A handler of one."""

    async def handle(sale: SaleMade) -> None:
        if meet := way(sale):
            await meet(service)
        await good.handle(sale)

    return Handler(SaleMade, handle)


def handled_together(service: Service, good: Handler) -> Handler:
    """A handler of many; if it fails, each message is handled alone."""
    alone = handled_alone(service, good).handle
    assert good.handle_all is not None
    all_ = good.handle_all

    async def handle_all(received: Sequence[Received[SaleMade]]) -> None:
        for each in received:
            if meet := way(each.payload):
                await meet(service)
        await all_(received)

    return Handler(SaleMade, alone, handle_all)


def handled_later(service: Service, good: Handler) -> Handler:
    """Work that is done for all messages of a batch together, just before COMMIT."""
    sales = Sales(service.manager)

    async def work(some: Sequence[SaleMade]) -> list[bool]:
        for sale in some:
            if meet := way(sale):
                await meet(service)
        return [True for _ in some]

    async def handle(sale: SaleMade) -> None:
        sales.later(work, sale)
        await good.handle(sale)

    return Handler(SaleMade, handle)


@pytest.fixture(params=["memory", "rabbitmq"])
async def service(request: pytest.FixtureRequest, connect: Connect) -> AsyncIterator[Service]:
    """The service with two workers."""
    url = "memory://" if request.param == "memory" else request.getfixturevalue("broker_url")
    async with connect(broker_url=url, concurrency=2) as connected:
        yield connected


def bad(meet: Way) -> Message:
    """A sale that meets this."""
    line = {"sku": meet.__name__, "quantity": 1, "unit_price_cents": 1}
    return sold(lines=[line])


@pytest.mark.parametrize("handled", [handled_alone, handled_together, handled_later])
async def test_an_interrupted_handler_is_a_failed_message(
    service: Service, handled: Callable[[Service, Handler], Handler]
) -> None:
    """Each is retried and becomes a dead letter; good ones before and after it are processed."""
    service.handlers[SALE_MADE] = handled(service, service.handlers[SALE_MADE])
    messages = [bad(meet) for meet in WAYS]
    sent = {str(each.message_id): meet.__name__ for each, meet in zip(messages, WAYS, strict=True)}
    with capture_logs():  # to print all these tracebacks takes longer than all the rest
        await process(service, messages)
    assert restarts(service) == 0
    found = await rows(service, "SELECT message_id, reason, error_type FROM dead_letters")
    assert {sent[each] for each, *_ in found} == {meet.__name__ for meet in WAYS}
    assert {tuple(why) for _, *why in found} == {("retries_exhausted", "Interrupted")}
    # Nothing of a bad one is there, and no connection has a transaction open.
    assert await count(service, "sales") == await count(service, "inbox") == 50
    assert await count(service, "outbox") == 50
    used = {"state": "used"}
    assert service.metrics.registry.get_sample_value("db_client_connections", used) == 0
    in_transaction = {"reason": "in_transaction"}
    value = service.metrics.registry.get_sample_value
    assert not value("db_client_connections_closed_total", in_transaction)


# feature: aiopg {
@pytest.mark.parametrize(
    "handled",
    [
        handled_alone,
        pytest.param(handled_together, marks=pytest.mark.long),
        pytest.param(handled_later, marks=pytest.mark.long),
    ],
)
async def test_a_cancellation_that_meets_no_wait(
    connect: Connect,
    handled: Callable[[Service, Handler], Handler],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer of PostgreSQL is there before it is waited for, as on a busy machine."""
    poll = driver._Connection._poll

    async def slow(self: Any, waiter: Any, timeout: float) -> None:  # noqa: ASYNC109
        time.sleep(0.02)  # noqa: ASYNC251
        await poll(self, waiter, timeout)

    monkeypatch.setattr(driver._Connection, "_poll", slow)
    async with connect(concurrency=2) as service:
        service.handlers[SALE_MADE] = handled(service, service.handlers[SALE_MADE])
        with capture_logs():
            await process(service, [bad(itself) for _ in range(3)])
        assert restarts(service) == 0
        assert await count(service, "sales") == await count(service, "inbox") == 50


# feature: aiopg }
# It waits for whoever has the lock, however long that takes, and does not look who is still there.
SLOW_COMMIT = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
    SET lock_timeout = 0 SET client_connection_check_interval = 0 AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON sales DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow()
"""
WAITING = """
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
"""


@pytest.mark.parametrize("kind", DRIVERS)
async def test_a_cancellation_in_the_middle_of_a_commit(
    connect: Connect, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its effects are there, though nobody was told: that is found out, and costs no attempt."""
    use_driver(kind, monkeypatch)
    async with connect() as service:
        await rows(service, SLOW_COMMIT)
        good, handling = service.handlers[SALE_MADE], list[asyncio.Task[Any] | None]()

        async def handle(sale: SaleMade) -> None:
            handling.append(asyncio.current_task())
            await good.handle(sale)

        service.handlers[SALE_MADE] = Handler(SaleMade, handle)
        with capture_logs(), watching(service.settings.database_url) as ask:
            ask("SELECT pg_advisory_lock(1)")
            async with everything(service):
                await send(service, sold())
                await eventually(lambda: ask(WAITING))
                assert handling[0] is not None
                handling[0].cancel()
                await eventually(lambda: metric(service, "db_client_connections_closed_total"))
                ask("SELECT pg_advisory_unlock_all()")
                await eventually(lambda: settled(service, "duplicate") == 1)
        assert (len(handling), settled(service, "retried")) == (1, 0)
        assert await count(service, "sales") == 1


async def process(service: Service, messages: Sequence[Message]) -> None:
    """Process these between 50 good ones."""
    async with everything(service):
        await send(service, *(sold() for _ in range(10)), *messages)
        await send(service, *(sold() for _ in range(40)))
        await eventually(lambda: archived(service, len(messages)), within=60)
        await eventually(lambda: settled(service, "done") == 50)
        await service.supervisor.check()


async def archived(service: Service, number: int) -> bool:
    """Whether there are so many dead letters."""
    return await count(service, "dead_letters") == number


def restarts(service: Service) -> float:
    """How many parts have ended and were started again."""
    return sum(
        sample.value
        for metric in service.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "part_restarts_total"
    )
