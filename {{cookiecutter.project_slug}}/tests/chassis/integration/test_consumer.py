"""What happens to messages, good and bad; on RabbitMQ and in memory."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from acme_orders.chassis.errors import Refused, TryLater
from acme_orders.chassis.messaging.attributes import ATTEMPT
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.memory import MemoryDelivery
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service

from dev.virtual_hosts import VirtualHosts
from tests.chassis.conftest import Connect, consuming, count, eventually, rows, send, settled, sold
from tests.chassis.slices.sales.messages import SALE_BOOKED, SALE_MADE, SaleMade

CORRELATION = "cloudEvents:correlationid"


@pytest.fixture(params=["memory", "rabbitmq"])
async def service(request: pytest.FixtureRequest, connect: Connect) -> AsyncIterator[Service]:
    """The service on either broker, with somebody who listens to what it announces."""
    url = "memory://" if request.param == "memory" else request.getfixturevalue("broker_url")
    async with AsyncExitStack() as stack:
        connected = await stack.enter_async_context(connect(broker_url=url))
        listener = Queue("listener", bindings=(SALE_BOOKED,))
        await connected.broker.declare("events", [listener])
        yield connected


async def dead_letters(service: Service) -> int:
    """How many wait in the dead-letter queue."""
    return await service.broker.count(service.topology.dead_letters.name)


async def test_an_order_is_stored_and_announced(service: Service) -> None:
    """One message: a sale, its lines, an audit entry, and one event that arrives."""
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "done") == 1)
    for table in ("sales", "sale_lines", "buyers", "journal", "outbox"):
        assert await count(service, table) == 1, table
    assert await service.relay.run_once() == 1
    assert await service.broker.count("listener") == 1
    assert await count(service, "outbox") == 0


@pytest.mark.parametrize(
    ("given", "handed_on"), [({}, "m-1"), ({CORRELATION: "c-1"}, "c-1"), ({CORRELATION: 7}, "m-1")]
)
async def test_an_event_is_tied_to_the_message_that_led_to_it(
    service: Service, given: dict[str, Any], handed_on: str
) -> None:
    """By the id that came with it, or else its own; a bad one is no reason to refuse it."""
    message = sold()
    headers = {**message.headers, **given}
    async with consuming(service):
        await send(service, replace(message, message_id="m-1", headers=headers))
        await eventually(lambda: settled(service, "done") == 1)
    await service.relay.run_once()
    events: list[Delivery] = []
    await service.broker.consume("listener", prefetch=1, deliver=events.append)
    await eventually(lambda: events)
    assert events[0].message.headers[CORRELATION] == handed_on


async def test_a_duplicate_has_no_second_effect(service: Service) -> None:
    """The same message ten times at once."""
    message = sold()
    async with consuming(service):
        await send(service, *[message] * 10)
        await eventually(lambda: settled(service, "duplicate") == 9)
    assert settled(service, "done") == 1
    assert await count(service, "sales") == await count(service, "outbox") == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"body": b"no JSON"}, "malformed"),
        ({"body": b"{}"}, "malformed"),
        ({"body": b"[" * 100_000}, "malformed"),
        ({"body": b"\xff\xfe"}, "malformed"),
        ({"body": b" " * (1024 * 1024 + 1)}, "malformed"),
        ({"type": None}, "malformed"),
        ({"type": "sale.unheard"}, "unknown_type"),
        ({"headers": {"cloudEvents:id": 7}}, "malformed"),
    ],
)
async def test_a_bad_message_is_a_dead_letter_and_hurts_no_other(
    service: Service, bad: dict[str, Any], reason: str
) -> None:
    """Each has its reason, and the good ones around it are processed."""
    async with consuming(service):
        await send(service, sold(), replace(sold(), **bad), sold())
        await eventually(lambda: settled(service, "done") == 2)
        await eventually(lambda: settled(service, "dead_lettered") == 1)
    counted = {"reason": reason}
    assert service.metrics.registry.get_sample_value("dead_letters_total", counted) == 1
    assert await dead_letters(service) == 1


async def test_a_message_without_id_is_a_dead_letter(connect: Connect, broker_url: str) -> None:
    """Sent over HTTP, because client libraries make an id up."""
    hosts = VirtualHosts(broker_url, os.environ["RABBITMQ_MANAGEMENT_URL"])
    body = {"properties": {"type": SALE_MADE}, "routing_key": SALE_MADE}
    body |= {"payload": sold().body.decode(), "payload_encoding": "string"}
    virtual_host = broker_url.rpartition("/")[2]
    async with connect(broker_url=broker_url) as service, consuming(service):
        await asyncio.to_thread(
            hosts.ask, "POST", f"/api/exchanges/{virtual_host}/events/publish", body
        )
        await eventually(lambda: settled(service, "dead_lettered") == 1)
        assert await dead_letters(service) == 1


async def test_an_id_used_twice_for_different_content_is_a_dead_letter(service: Service) -> None:
    """Nobody can know which of the two is meant."""
    first = sold()
    async with consuming(service):
        await send(service, first)
        await eventually(lambda: settled(service, "done") == 1)
        await send(service, replace(sold(), message_id=first.message_id))
        await eventually(lambda: settled(service, "dead_lettered") == 1)
    assert await count(service, "sales") == 1


class Behaving:
    """A handler that raises these errors, one a call, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    async def __call__(self, _: SaleMade) -> None:
        """Raise the next one."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TryLater("not yet")])
async def test_a_failure_is_retried_until_it_succeeds(service: Service, error: Exception) -> None:
    """Through the retry queues, with the attempts counted."""
    handler = Behaving(error, error)
    service.handlers[SALE_MADE] = Handler(SaleMade, handler)
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "done") == 1)
    assert (handler.calls, settled(service, "retried")) == (3, 2)


async def test_a_message_that_always_fails_is_a_dead_letter_in_the_end(service: Service) -> None:
    """After the last step of the ladder."""
    handler = Behaving(*[RuntimeError("a bug")] * 9)
    service.handlers[SALE_MADE] = Handler(SaleMade, handler)
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "dead_lettered") == 1)
    assert handler.calls == 3
    assert await count(service, "inbox") == 0  # so that it can be replayed
    letters: list[Delivery] = []
    await service.broker.consume(
        service.topology.dead_letters.name, prefetch=10, deliver=letters.append
    )
    await eventually(lambda: letters)
    headers = [letter.message.headers for letter in letters]
    assert [each["dl-reason"] for each in headers] == ["retries_exhausted"]
    assert ATTEMPT not in headers[0]  # put back, it has all its attempts


class Handed(MemoryDelivery):
    """A delivery that remembers how often it was settled."""

    def __init__(self, message: Message) -> None:
        self.acks = 0
        super().__init__(message, "acme-orders", False, lambda *_: None)

    async def ack(self) -> None:
        """Count it."""
        self.acks += 1


async def test_a_failing_message_never_settles_its_neighbour(connect: Connect) -> None:
    """Not a malformed one before it in the batch, and not itself twice."""
    async with connect() as service:
        service.handlers[SALE_MADE] = Handler(SaleMade, Behaving(RuntimeError("a bug")))
        malformed, failing = Handed(replace(sold(), body=b"no JSON")), Handed(sold())
        await service.consumer.process([malformed, failing])
        alone = Handed(replace(sold(), body=b"no JSON"))
        await service.consumer.process([alone])
        assert [malformed.acks, failing.acks, alone.acks] == [1, 1, 1]
        assert await dead_letters(service) == 2
        assert settled(service, "retried") == 1


async def test_a_refusal_is_a_dead_letter_at_once(service: Service) -> None:
    """The business said no, for good."""
    service.handlers[SALE_MADE] = Handler(SaleMade, Behaving(Refused("closed on Sundays")))
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "dead_lettered") == 1)
    assert settled(service, "retried") == 0


async def test_an_event_that_nobody_listens_to_stays_in_the_outbox(connect: Connect) -> None:
    """Nothing is dropped silently; its type waits, and it has spent no attempt."""
    async with connect() as service:
        async with consuming(service):
            await send(service, sold())
            await eventually(lambda: settled(service, "done") == 1)
        assert await service.relay.run_once() == 1
        assert await rows(service, "SELECT attempts FROM outbox") == [(0,)]
        ((type_, error),) = await rows(service, "SELECT type, error FROM parked_types")
    assert type_ == SALE_BOOKED
    assert "no queue is bound" in error


def test_messages_are_values() -> None:
    """Two messages with the same content are equal."""
    assert Message(b"a", "1") == Message(b"a", "1")
