"""What protects messages: from an outage, a bad deployment, a neighbour, and from being too old."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.errors import (
    BrokerUnavailable,
    Conflict,
    DatabaseUnavailable,
    TryLater,
)
from acme_orders.chassis.messaging.attributes import REPLAYS
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.memory import MemoryDelivery
from acme_orders.chassis.process.service import Service

from readiness.scratch import session
from tests.chassis.conftest import Connect, consuming, count, eventually, send, settled, sold
from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade

QUEUE = "acme-orders"


@asynccontextmanager
async def everything(service: Service) -> AsyncIterator[None]:
    """The consumer, the lane for suspects and the archive; at the end they are drained."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as parts:
        parts.create_task(service.consume(stop))
        try:
            yield
        finally:
            stop.set()


def metric(service: Service, name: str, **labels: str) -> float:
    """The value of a metric, 0 if there is none yet."""
    return service.metrics.registry.get_sample_value(name, labels) or 0


def handle(service: Service, handler: Any) -> None:
    """Handle sales with this instead."""
    service.handlers[SALE_MADE] = Handler(SaleMade, handler)


def delivery(message: Message, *, returns: int = 0) -> MemoryDelivery:
    """A delivery that came back so often, and is settled nowhere."""
    return MemoryDelivery(message, QUEUE, returns, lambda *_: None)


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory, with short waits."""
    async with connect(hold_timeout=0.6) as connected:
        yield connected


async def test_a_message_that_came_back_too_often_is_set_apart(service: Service) -> None:
    """It may be what ends the process; there it takes no other with it."""
    async with everything(service):
        await service.consumer.process([delivery(sold(), returns=3), delivery(sold())])
        await eventually(lambda: settled(service, "done") == 2)
    assert settled(service, "suspected") == metric(service, "suspects_total") == 1
    assert await count(service, "sales") == 2


async def test_a_message_that_came_back_less_often_is_not(service: Service) -> None:
    """A restart or two are no suspicion."""
    await service.consumer.process([delivery(sold(), returns=2)])
    assert settled(service, "done") == 1


@contextmanager
def away(service: Service) -> Iterator[None]:
    """PostgreSQL ends all sessions of this service, and lets it open no other."""
    url = urlsplit(service.settings.database_url)
    name = url.path.removeprefix("/")
    with session(url._replace(path="/postgres").geturl()) as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (name,),
        )
        try:
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


async def test_an_outage_longer_than_the_hold_costs_nothing(service: Service) -> None:
    """The message goes to the end of its queue, with the attempts it had."""
    async with consuming(service):
        with away(service):
            await send(service, sold())
            await eventually(lambda: metric(service, "consumer_paused", reason="outage") == 1)
            with pytest.raises(DatabaseUnavailable, match=r"postgresql for \d+ s: "):
                await service.triage.check()
            await eventually(lambda: settled(service, "put_back") >= 2)
        await eventually(lambda: settled(service, "done") == 1)
    assert settled(service, "retried") == 0
    assert metric(service, "consumer_paused", reason="outage") == 0


async def test_a_drain_in_an_outage_gives_the_messages_back(service: Service) -> None:
    """It does not wait for the outage to end."""
    with away(service):
        async with consuming(service):
            await send(service, sold())
            await eventually(lambda: metric(service, "consumer_paused", reason="outage") == 1)
            began = time.monotonic()
        assert time.monotonic() - began < 15  # a drain has 25
    assert await service.broker.count(service.topology.main.name) == 1


async def test_a_conflict_spends_no_attempt(connect: Connect) -> None:
    """Somebody else was in the way; that says nothing about this message."""
    async with connect(conflict_retries=0) as service:
        calls = 0

        async def handler(_: SaleMade) -> None:
            nonlocal calls
            calls += 1
            if calls <= 5:  # the ladder has two steps
                raise Conflict("locked")

        handle(service, handler)
        async with consuming(service):
            await send(service, sold())
            await eventually(lambda: settled(service, "done") == 1)
    assert settled(service, "retried") == 5


async def test_a_handler_says_how_long_to_wait(connect: Connect) -> None:
    """The first step of the ladder that is long enough."""
    async with connect(retry_ladder=(0.1, 0.2, 0.3)) as service:
        failed = False

        async def handler(_: SaleMade) -> None:
            nonlocal failed
            if not failed:
                failed = True
                raise TryLater("closed", after=0.15)

        handle(service, handler)
        async with consuming(service):
            await send(service, sold())
            await eventually(lambda: settled(service, "done") == 1)
        second = service.topology.ladder[1].name
        assert metric(service, "message_retries_total", queue=second) == 1


async def test_a_bad_deployment_does_not_fill_the_dead_letters(connect: Connect) -> None:
    """When most messages fail alike the consumer waits, and goes on by itself."""
    async with connect(failure_window=20, failure_pause=3.0) as service:
        with capture_logs():  # to print hundreds of tracebacks takes longer than all the rest
            await bad_deployment(service)


async def bad_deployment(service: Service) -> None:
    """A handler with a bug, which is mended after a while."""
    broken, calls = True, 0

    async def handler(_: SaleMade) -> None:
        nonlocal calls
        calls += 1
        if broken:
            raise RuntimeError("a bug")

    handle(service, handler)
    async with consuming(service):
        await send(service, *(sold() for _ in range(200)))
        await eventually(
            lambda: metric(service, "consumer_paused", reason="failures") == 1, within=90
        )
        # Each of 8 workers may have had one under way; their batches had failed before.
        assert settled(service, "retried") <= 20 + 8
        broken = False
        await eventually(lambda: settled(service, "done") == 200, within=90)
    assert settled(service, "dead_lettered") == 0


async def test_bad_messages_do_not_stop_the_good_ones(service: Service) -> None:
    """Whoever sends rubbish must not be able to stop the consumer."""
    rubbish = [replace(sold(), body=b"no JSON") for _ in range(60)]
    async with consuming(service):
        await send(service, *rubbish, sold())
        await eventually(lambda: settled(service, "done") == 1)
    assert settled(service, "dead_lettered") == 60
    assert metric(service, "consumer_paused", reason="failures") == 0


class Lost(MemoryDelivery):
    """A delivery whose channel is gone when it is acked."""

    async def ack(self) -> None:
        """Fail."""
        self.open = False
        raise BrokerUnavailable("the channel is closed")


async def test_a_redelivery_after_a_lost_ack_needs_no_database(service: Service) -> None:
    """What was committed is remembered, so the redelivery is acked at once."""
    message = sold()
    await service.consumer.process([Lost(message, QUEUE, 0, lambda *_: None)])
    again = delivery(message, returns=1)
    await service.consumer.process([again])
    assert not again.open
    assert metric(service, "acks_lost_total") == metric(service, "late_acks_total") == 1
    assert await count(service, "sales") == 1
    other = replace(sold(), message_id=message.message_id)
    await service.consumer.process([delivery(other)])  # the same id with other content is not it
    assert metric(service, "dead_letters_total", reason="payload_mismatch") == 1


OLD = datetime.now(UTC) - timedelta(days=15)


@pytest.mark.parametrize(
    "dated", [{"timestamp": OLD}, {"headers": {"cloudEvents:time": OLD.isoformat()}}]
)
async def test_a_message_older_than_the_inbox_is_a_dead_letter(
    service: Service, dated: dict[str, Any]
) -> None:
    """Nobody knows whether it was processed; whoever replays it has decided."""
    message = sold()
    old = replace(message, **{**dated, "headers": {**message.headers, **dated.get("headers", {})}})
    await service.consumer.process([delivery(old), delivery(sold())])
    assert metric(service, "dead_letters_total", reason="beyond_dedup_window") == 1
    assert await count(service, "sales") == 1
    replayed = replace(old, headers={**old.headers, REPLAYS: 1})
    await service.consumer.process([delivery(replayed)])
    assert await count(service, "sales") == 2
    await service.consumer.process([delivery(old)])  # known, and so a duplicate, however old
    assert settled(service, "duplicate") == 1


async def test_headers_have_a_limit(service: Service) -> None:
    """What is larger is a dead letter, and its headers are left out of it."""
    message = sold()
    huge = replace(message, headers={**message.headers, "junk": "x" * 70_000})
    async with consuming(service):
        await send(service, huge, sold())
        await eventually(lambda: settled(service, "done") == settled(service, "dead_lettered") == 1)
    letters: list[Any] = []
    queue = service.topology.dead_letters.name
    await service.broker.consume(queue, prefetch=1, deliver=letters.append)
    await eventually(lambda: letters)
    headers = letters[0].message.headers
    assert "junk" not in headers
    assert headers["dropped-headers"] == "junk"
    assert headers["dl-reason"] == "malformed"


async def test_a_drain_releases_only_what_is_not_settled(connect: Connect, broker_url: str) -> None:
    """Of a batch that an outage stopped half-way, a part is settled already."""
    async with connect(broker_url=broker_url, concurrency=1) as service:
        for _ in range(10):
            await send(service, replace(sold(), body=b"no JSON"), sold())
        with capture_logs() as logs, away(service):
            async with consuming(service):
                await eventually(lambda: metric(service, "consumer_paused", reason="outage") == 1)
        left = 20 - settled(service, "dead_lettered")
        assert left < 20, "no batch was stopped half-way"
        await eventually(lambda: counted(service, service.topology.main.name, left))
    assert "delivery.settled_twice" not in {record["event"] for record in logs}


async def counted(service: Service, queue: str, number: int) -> bool:
    """Whether so many messages wait there."""
    return await service.broker.count(queue) == number
