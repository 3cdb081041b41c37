"""From the outbox to RabbitMQ: nothing is lost, keys keep their order, an outage costs nothing."""

import asyncio
import math
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import psutil
import pytest

from acme_orders.chassis.errors import BrokerUnavailable, DatabaseUnavailable
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service

from dev.rabbitmq import RabbitMQ
from tests.chassis.conftest import PROJECT, Connect, count, eventually, frozen, rows
from tests.chassis.integration.outbox_events import (
    HEARD,
    UNHEARD,
    Heard,
    add,
    by_key,
    is_empty,
    listen,
    many,
    metric,
    relays,
    smuggle,
)


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on a real RabbitMQ."""
    async with connect(broker_url=broker_url, relay_batch=10) as connected:
        yield connected


async def test_a_key_keeps_its_order_and_a_parked_event_holds_none_of_it_back(
    service: Service,
) -> None:
    """Three relays at once; when somebody listens the rest comes, in order too."""
    heard = await listen(service, HEARD)
    await add(service, (UNHEARD, "lame", 0))
    keys = [*(f"sale-{number}" for number in range(7)), "lame"]
    async with relays(service, 3):
        for number in range(12):
            await add(service, *((HEARD, key, number) for key in keys), (UNHEARD, "lame", number))
        await eventually(lambda: len(heard) >= 8 * 12)
        assert by_key(heard) == {key: list(range(12)) for key in keys}
        await eventually(lambda: _parked(service, 13))

        heard.clear()
        await service.broker.declare("events", [Queue("listener", bindings=(UNHEARD,))])
        await eventually(lambda: is_empty(service))
        await eventually(lambda: len(heard) >= 13)
    assert by_key(heard) == {"lame": [0, *range(12)]}


async def test_several_relays_publish_each_event_once(service: Service) -> None:
    """They pass over what another one is taking."""
    heard = await listen(service, HEARD)
    await add(service, *many(HEARD, 300), ordered=False)
    async with relays(service, 3):
        await eventually(lambda: is_empty(service))
    await eventually(lambda: len(heard) >= 300)
    assert sorted(by_key(heard)["any"]) == list(range(300))


async def test_a_commit_wakes_the_relay_of_its_process(connect: Connect, broker_url: str) -> None:
    """Nobody waits for the next look at the table, which is a minute away here."""
    async with connect(broker_url=broker_url, relay_poll=60) as service:
        heard, stop = await listen(service, HEARD), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(service.relay.run(stop))
            for number in range(3):
                await add(service, (HEARD, "sale-1", number))
                await eventually(partial(_arrived, heard, number + 1), within=30)
            stop.set()


async def test_a_backlog_is_counted_and_a_large_one_is_estimated(service: Service) -> None:
    """Without what is parked; counting all of a million every few seconds would be work too."""
    await smuggle(service, "generate_series(1, 10100)", available_at="'infinity'")
    for some, known in ((9_999, 9_999), (10_001, 20_000)):
        await smuggle(service, f"generate_series(1, {some})", available_at="now() + interval '1 h'")
        about = pytest.approx(known, rel=0.03)
        async with relays(service):
            await eventually(lambda: metric(service, "outbox_pending") == about)  # noqa: B023
    await rows(service, "UPDATE outbox SET created_at = now() - interval '1 h' WHERE id = 11000")
    await rows(service, "UPDATE outbox SET created_at = '-infinity' WHERE id = 11001")
    async with relays(service):
        await eventually(lambda: 3600 <= metric(service, "outbox_oldest_seconds") < 3700)
    assert metric(service, "outbox_parked") == 10_000  # or more, as its help says


async def test_in_an_outage_of_postgresql_nobody_knows_the_backlog(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of before would look as if all was well."""
    await add(service, (HEARD, "sale-1", 1))

    async def pending(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable("it does not answer")

    monkeypatch.setattr(type(service.relay_queries.backlog), "pending", pending)
    async with relays(service):
        for name in ("outbox_pending", "outbox_oldest_seconds"):
            await eventually(lambda: math.isnan(metric(service, name)))  # noqa: B023


async def test_an_outage_of_rabbitmq_costs_no_attempt(connect: Connect) -> None:
    """Neither one that does not answer nor one that is gone; rows wait as if nobody took them."""
    untouched = "SELECT count(*) FROM outbox WHERE attempts = 0 AND available_at <= now()"
    with RabbitMQ() as server:
        async with connect(broker_url=server.url, publish_timeout=0.5) as service:
            heard = await listen(service, HEARD)
            await add(service, *((HEARD, f"sale-{number}", number) for number in range(5)))
            with frozen(server):
                with pytest.raises(BrokerUnavailable):
                    await service.relay.run_once()
                assert await rows(service, untouched) == [(5,)]
            await eventually(lambda: service.broker.connected)
            await asyncio.to_thread(server.stop)
            await eventually(lambda: not service.broker.connected)
            async with relays(service, 2):
                await add(service, (HEARD, "sale-5", 5))
                await asyncio.sleep(5 * service.settings.relay_poll)  # time for several rounds
                assert await rows(service, untouched) == [(6,)]
                await asyncio.to_thread(server.start)
                await eventually(lambda: is_empty(service))
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
    await add(service, *((HEARD, f"sale-{number}", number) for number in range(5)))
    point = "before:acme_orders.chassis.relay.pending:Pending.published:stop@1"
    failing = ("-m", "tests.chassis.faults.child", point, "--")
    async with relay_process(service, *failing) as (slow, log):
        await eventually(lambda: psutil.Process(slow.pid).status() == psutil.STATUS_STOPPED)
        await eventually(lambda: len(heard) == 5)
        assert await count(service, "outbox") == 5
        async with relay_process(service, "-m", "tests.chassis"):
            await eventually(lambda: is_empty(service))
            slow.send_signal(signal.SIGCONT)
            await eventually(lambda: any("relay.lease_lost" in line for line in log))
            await add(service, (HEARD, "sale-5", 5))
            await eventually(lambda: is_empty(service))
    await eventually(lambda: len(heard) == 11)
    assert len({each.id for each in heard}) == 6
    assert {each.number for each in heard} == set(range(6))


def _arrived(heard: list[Heard], how_many: int) -> bool:
    return len(heard) >= how_many


async def _parked(service: Service, how_many: int) -> bool:
    return await count(service, "outbox WHERE available_at = 'infinity'") == how_many
