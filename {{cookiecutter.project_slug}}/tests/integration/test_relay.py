"""From the outbox to RabbitMQ: nothing is lost, keys keep their order, an outage costs nothing."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import psutil
import pytest

from acme_orders.app import Service, assemble
from acme_orders.database.tenancy import work_for  # feature: row, rls, schema
from acme_orders.errors import BrokerUnavailable
from acme_orders.messaging.broker import Delivery, Message
from acme_orders.messaging.envelope import Payload
from acme_orders.messaging.outbox import Outbox
from acme_orders.messaging.topology import Queue
from acme_orders.readiness.two_tenants import TENANT  # feature: row, rls, schema

from dev.rabbitmq import RabbitMQ
from tests.conftest import PROJECT, Connect, count, eventually, rows

HEARD, UNHEARD = "order.accepted", "order.shipped"


class Step(Payload):
    """What happened to one thing, and when in its life."""

    key: str
    number: int


@dataclass(frozen=True)
class Heard:
    """A message that a consumer of our events got."""

    id: str | None
    key: str
    number: int


async def add(service: Service, *events: tuple[str, str, int], ordered: bool = True) -> None:
    """Commit events, each a type, a key and its number."""
    outbox = next(each for each in service.repositories if isinstance(each, Outbox))

    async def unit() -> None:
        work_for(TENANT)  # feature: row, rls, schema
        async with service.manager.transaction("test"):
            for type_, key, number in events:
                step = Step(key=key, number=number)
                await outbox.add(type_, step, key=key if ordered else None)

    await asyncio.create_task(unit())


@asynccontextmanager
async def relays(service: Service, how_many: int) -> AsyncIterator[None]:
    """So many relays at once, each with a wake-up of its own; they stop in order."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(how_many):
            another = assemble(
                service.settings,
                metrics=service.metrics,
                manager=service.manager,
                broker=service.broker,
            )
            group.create_task(another.relay.run(stop))
        try:
            yield
        finally:
            stop.set()


async def listen(service: Service, *types: str) -> list[Heard]:
    """Everything that arrives of these types, in its order, from now on."""
    queue = Queue("listener", bindings=types)
    await service.broker.declare("events", [queue])
    heard: list[Heard] = []

    def deliver(delivery: Delivery) -> None:
        message: Message = delivery.message
        step = json.loads(message.body)
        heard.append(Heard(message.message_id, step["key"], step["number"]))

    await service.broker.consume("listener", prefetch=1000, deliver=deliver)
    return heard


def arrived(heard: list[Heard], how_many: int) -> bool:
    """Whether so many messages have come, or more."""
    return len(heard) >= how_many


def by_key(heard: list[Heard]) -> dict[str, list[int]]:
    """The numbers that arrived of each key, in their order."""
    found: dict[str, list[int]] = defaultdict(list)
    for each in heard:
        found[each.key].append(each.number)
    return found


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A server that is there, with all its processes, and does nothing."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on a real RabbitMQ."""
    async with connect(broker_url=broker_url, relay_batch=10) as connected:
        yield connected


async def test_a_key_keeps_its_order_and_a_refused_event_blocks_only_its_key(
    service: Service,
) -> None:
    """Three relays at once; when somebody listens the rest comes, in order too."""
    heard = await listen(service, HEARD)
    await add(service, (UNHEARD, "blocked", 0))
    keys = [f"order-{number}" for number in range(7)]
    async with relays(service, 3):
        for number in range(12):
            await add(service, *((HEARD, key, number) for key in keys), (HEARD, "blocked", number))
        await eventually(lambda: len(heard) >= 7 * 12)
        assert by_key(heard) == {key: list(range(12)) for key in keys}
        left = await rows(service, "SELECT type, attempts > 0 FROM outbox ORDER BY id")
        assert left == [(UNHEARD, True)] + 12 * [(HEARD, False)]

        heard.clear()
        await service.broker.declare("events", [Queue("listener", bindings=(UNHEARD,))])
        await eventually(lambda: len(heard) == 13)
    assert by_key(heard) == {"blocked": [0, *range(12)]}
    assert await count(service, "outbox") == 0


async def test_several_relays_publish_each_event_once(service: Service) -> None:
    """They pass over what another one is taking."""
    heard = await listen(service, HEARD)
    await add(service, *((HEARD, "any", number) for number in range(300)), ordered=False)
    async with relays(service, 3):
        await eventually(lambda: _empty(service))
    await eventually(lambda: len(heard) >= 300)
    assert sorted(by_key(heard)["any"]) == list(range(300))


async def test_a_commit_wakes_the_relay_of_its_process(connect: Connect, broker_url: str) -> None:
    """Nobody waits for the next look at the table, which is a minute away here."""
    async with connect(broker_url=broker_url, relay_poll=60) as service:
        heard, stop = await listen(service, HEARD), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(service.relay.run(stop))
            for number in range(3):
                await add(service, (HEARD, "order-1", number))
                await eventually(partial(arrived, heard, number + 1), within=10)
            stop.set()


async def test_only_refused_events_are_counted_as_blocked(service: Service) -> None:
    """Twenty refusals are too many to be a coincidence."""
    await add(service, (UNHEARD, "order-1", 0), (UNHEARD, "order-2", 0), (HEARD, "order-3", 0))
    await rows(service, "UPDATE outbox SET attempts = 19 WHERE id IN (1, 3) RETURNING 1")
    await service.relay.run_once()
    async with relays(service, 1):
        await eventually(lambda: service.metrics.registry.get_sample_value("outbox_blocked") == 2)
    attempts = await rows(service, "SELECT attempts FROM outbox ORDER BY id")
    assert attempts[0] == (20,)


async def test_an_outage_of_rabbitmq_costs_no_attempt(connect: Connect) -> None:
    """Neither one that does not answer nor one that is gone; rows wait as if nobody took them."""
    untouched = "SELECT count(*) FROM outbox WHERE attempts = 0 AND available_at <= now()"
    with RabbitMQ() as server:
        async with connect(broker_url=server.url, publish_timeout=0.5) as service:
            heard = await listen(service, HEARD)
            await add(service, *((HEARD, f"order-{number}", number) for number in range(5)))
            with frozen(server.pid):
                with pytest.raises(BrokerUnavailable):
                    await service.relay.run_once()
                assert await rows(service, untouched) == [(5,)]
            await eventually(lambda: service.broker.connected)
            await asyncio.to_thread(server.stop)
            await eventually(lambda: not service.broker.connected)
            async with relays(service, 2):
                await add(service, (HEARD, "order-5", 5))
                taken = "SELECT count(*) FROM outbox WHERE lease IS NULL"
                await asyncio.sleep(5 * service.settings.relay_poll)  # time for several rounds
                assert await rows(service, taken) == [(1,)]
                assert await rows(service, untouched) == [(6,)]
                await asyncio.to_thread(server.start)
                await eventually(lambda: _empty(service), within=60)
            await eventually(lambda: {each.number for each in heard} == set(range(6)))


@asynccontextmanager
async def relay_process(
    service: Service, *command: str
) -> AsyncIterator[tuple[Process, list[str]]]:
    """A relay in a process of its own, with its log; killed at the end."""
    environment = {
        **os.environ,
        "ENVIRONMENT": "test",
        "DATABASE_URL": service.settings.database_url,
        "BROKER_URL": service.settings.broker_url,
        "OPERATIONS_PORT": "0",
        "RELAY_POLL": "100ms",
        "RELAY_LEASE": "1s",
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "run",
        "--only",
        "relay",
        cwd=PROJECT,
        env=environment,
        stderr=PIPE,
    )
    assert started.stderr is not None
    log: list[str] = []

    async def read(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            log.append(line.decode())  # noqa: PERF401  it is looked at meanwhile

    reading = asyncio.create_task(read(started.stderr))
    try:
        yield started, log
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()
        await reading
        sys.stderr.write("".join(log))


async def test_a_relay_that_was_frozen_past_its_lease_harms_nothing(service: Service) -> None:
    """It had a confirm and had not deleted the rows; another took over, under the same ids."""
    heard = await listen(service, HEARD)
    await add(service, *((HEARD, f"order-{number}", number) for number in range(5)))
    point = "before:acme_orders.messaging.outbox:Pending.published:stop@1"
    failing = ("-m", "tests.faults.child", point, "--")
    async with relay_process(service, *failing) as (slow, log):
        await eventually(lambda: psutil.Process(slow.pid).status() == psutil.STATUS_STOPPED)
        await eventually(lambda: len(heard) == 5)
        assert await count(service, "outbox") == 5
        async with relay_process(service, "-m", "acme_orders"):
            await eventually(lambda: _empty(service))
            slow.send_signal(signal.SIGCONT)
            await eventually(lambda: any("relay.lease_lost" in line for line in log))
            await add(service, (HEARD, "order-5", 5))
            await eventually(lambda: _empty(service))
    await eventually(lambda: len(heard) == 11)
    assert len({each.id for each in heard}) == 6
    assert {each.number for each in heard} == set(range(6))


async def _empty(service: Service) -> bool:
    return await count(service, "outbox") == 0
