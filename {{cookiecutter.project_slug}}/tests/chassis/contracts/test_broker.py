"""What every broker has to do, asked of each that there is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from acme_orders.chassis.errors import (
    BrokerUnavailable,
    Unpublishable,
    Unroutable,
)
from acme_orders.chassis.messaging.broker import Broker, Delivery, Message
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE, Queue
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import message_broker

from tests.chassis.conftest import eventually
from tests.chassis.service import SERVICE

EXCHANGE = "events"
WORK = Queue("work", bindings=("thing.done", "thing.begun"))
OTHER = Queue("other", bindings=("thing.done",))
LATER = Queue("later", dead_letter_to="work", ttl=0.2)
QUEUES = (WORK, OTHER, LATER)
# What a client can send in a header, and has to get back exactly.
VALUES: dict[str, Any] = {
    "text": "grüße \U0001f600",
    "empty": "",
    "nul": "a\x00b",
    "octets": b"\xff\x00\xfe",
    "yes": True,
    "nothing": None,
    "small": -128,
    "large": 2**63 - 1,
    "half": 0.5,
    "tenth": 0.1,
    "huge": 1e300,
    "when": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "list": [1, "two", [3.25, None], {"four": b"\x80"}],
    "table": {"a": {"b": {"c": [True]}}},
    "n" * 128: "a long name",
}


@pytest.fixture(params=["memory", "rabbitmq"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each broker, with the queues declared."""
    memory = request.param == "memory"
    settings = SERVICE.load_settings(
        _env_file=None,
        environment="test",
        database_url="postgresql://nobody@127.0.0.1:1/none",
        broker_url="memory://" if memory else request.getfixturevalue("broker_url"),
    )
    async with message_broker(SERVICE.name, settings, Metrics()) as found:
        await found.declare(EXCHANGE, QUEUES)
        yield found


def some(body: bytes = b"{}", **changes: Any) -> Message:
    """A message with an id of its own."""
    return replace(Message(body, str(uuid4()), "thing.done", "tests"), **changes)


async def send(broker: Broker, *messages: Message, queue: str = "work") -> None:
    """Publish to a queue, in this order."""
    for message in messages:
        await broker.publish(message, exchange=DEFAULT_EXCHANGE, routing_key=queue)


async def waiting(broker: Broker, queue: Queue = WORK) -> int:
    """How many messages wait, as `inspect` and `count` agree."""
    (_, state), counted = await broker.inspect(EXCHANGE, [queue]), await broker.count(queue.name)
    return counted if state.messages == counted else -1


class Taken(list[Delivery]):
    """All that was delivered."""

    async def reaches(self, number: int) -> None:
        """Wait for so many deliveries, and see that there are no more."""
        await eventually(lambda: len(self) >= number)
        await asyncio.sleep(0.1)
        assert len(self) == number


async def test_an_acked_message_is_gone(broker: Broker) -> None:
    """It comes once, is open until it is settled, and is not there afterwards."""
    taken = Taken()
    sent = some(b"body")
    await send(broker, sent)
    await broker.consume("work", prefetch=5, deliver=taken.append)
    await taken.reaches(1)
    (delivery,) = taken
    assert (delivery.message.body, delivery.queue, delivery.returns) == (b"body", "work", 0)
    assert delivery.open
    await delivery.ack()
    assert not delivery.open
    await eventually(lambda: _has(broker, 0))
    await taken.reaches(1)


async def _has(broker: Broker, number: int) -> bool:
    return await waiting(broker) == number


async def test_a_released_message_comes_back(broker: Broker) -> None:
    """Every time; RabbitMQ counts all of that up to 4.2, and from 4.3 on none."""
    taken = Taken()
    await send(broker, some(b"again"))
    await broker.consume("work", prefetch=5, deliver=taken.append)
    for returns in range(3):
        await taken.reaches(returns + 1)
        assert taken[-1].returns in (min(returns, 1), returns)
        assert taken[-1].message.body == b"again"
        await taken[-1].release()
        assert not taken[returns].open
    await taken.reaches(4)
    await taken[-1].ack()


async def test_a_message_whose_consumer_is_lost_comes_back_and_is_counted(broker: Broker) -> None:
    """Every time; `returns` says how often."""
    taken = Taken()
    await send(broker, some(b"again"))
    subscription = await broker.consume("work", prefetch=5, deliver=taken.append)
    for returns in range(3):
        await taken.reaches(returns + 1)
        assert taken[-1].returns == returns
        await subscription.restart()
        await eventually(lambda: broker.connected)
    await taken.reaches(4)
    await taken[-1].ack()


async def test_settling_twice_is_harmless(broker: Broker) -> None:
    """The second does nothing; neither its neighbours nor the consumer notice."""
    taken = Taken()
    await send(broker, some(b"1"), some(b"2"), some(b"3"))
    await broker.consume("work", prefetch=5, deliver=taken.append)
    await taken.reaches(3)
    first, second, third = taken
    await first.ack()
    await first.ack()
    await first.release()
    await second.release()
    await second.ack()
    await taken.reaches(4)
    assert third.open
    await third.ack()
    await taken[3].ack()
    await send(broker, some(b"4"))
    await taken.reaches(5)
    assert [(each.message.body, each.returns) for each in taken[3:]] == [(b"2", 1), (b"4", 0)]


async def test_prefetch_is_respected(broker: Broker) -> None:
    """No more than so many are open; each one that is settled makes room for another."""
    taken = Taken()
    await send(broker, *(some(b"%d" % number) for number in range(7)))
    await broker.consume("work", prefetch=3, deliver=taken.append)
    await taken.reaches(3)
    await eventually(lambda: _has(broker, 4))
    await taken[1].ack()
    await taken.reaches(4)
    await taken[0].ack()
    await taken[2].ack()
    await taken.reaches(6)
    assert [each.message.body for each in taken] == [b"%d" % number for number in range(6)]


async def test_an_exchange_copies_to_all_that_are_bound(broker: Broker) -> None:
    """By type, and to no other queue."""
    await broker.publish(some(), exchange=EXCHANGE, routing_key="thing.done")
    await broker.publish(some(), exchange=EXCHANGE, routing_key="thing.begun")
    await eventually(lambda: _has(broker, 2))
    assert await waiting(broker, OTHER) == 1
    assert await waiting(broker, LATER) == 0


@pytest.mark.parametrize(
    ("exchange", "routing_key"), [(EXCHANGE, "thing.lost"), (DEFAULT_EXCHANGE, "nowhere")]
)
@pytest.mark.parametrize("identity", [{}, {"message_id": None}, {"message_id": ""}])
async def test_a_message_for_nobody_is_refused(
    broker: Broker, exchange: str, routing_key: str, identity: dict[str, Any]
) -> None:
    """And not dropped; the next publish works."""
    with pytest.raises(Unroutable, match=routing_key):
        await broker.publish(some(**identity), exchange=exchange, routing_key=routing_key)
    await send(broker, some())


async def test_a_message_whose_time_is_over_moves_on(broker: Broker) -> None:
    """To the queue that is named, as a new message, and not earlier."""
    taken = Taken()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await broker.consume("work", prefetch=5, deliver=taken.append)
    await send(broker, some(b"later", headers={"mine": "kept"}), queue="later")
    await taken.reaches(1)
    assert loop.time() - began >= 0.2
    assert (taken[0].message.body, taken[0].returns) == (b"later", 0)
    assert taken[0].message.headers["mine"] == "kept"
    await taken[0].ack()


async def test_after_cancel_nothing_arrives_and_all_can_be_acked(broker: Broker) -> None:
    """What is here stays ours; and a broker that nobody consumes from is connected."""
    taken = Taken()
    await send(broker, some(b"1"), some(b"2"))
    subscription = await broker.consume("work", prefetch=5, deliver=taken.append)
    await taken.reaches(2)
    await subscription.cancel()
    await send(broker, some(b"3"))
    await taken.reaches(2)
    assert all(each.open for each in taken)
    assert broker.connected
    for each in taken:
        await each.ack()
    await eventually(lambda: _has(broker, 1))


async def test_restart_gives_back_what_is_open(broker: Broker) -> None:
    """Once: it comes again, one return older, and the old deliveries are closed."""
    taken = Taken()
    await send(broker, some(b"1"), some(b"2"))
    subscription = await broker.consume("work", prefetch=5, deliver=taken.append)
    await taken.reaches(2)
    await taken[0].ack()
    await subscription.restart()
    await eventually(lambda: broker.connected)
    await taken.reaches(3)
    assert not taken[1].open
    assert (taken[2].message.body, taken[2].returns) == (b"2", 1)
    await taken[2].ack()


async def test_inspect(broker: Broker) -> None:
    """Says what is missing, how much waits, and who consumes; creates nothing."""
    await send(broker, some(), some())
    missing = Queue("missing")
    for _ in range(2):
        _, work, there_not = await broker.inspect(EXCHANGE, [WORK, missing])
        assert (work.problem, work.messages, work.consumers) == (None, 2, 0)
        assert there_not.problem
        assert "missing" in there_not.problem
    await broker.consume("work", prefetch=1, deliver=Taken().append)
    _, found = await broker.inspect(EXCHANGE, [WORK])
    assert (found.messages, found.consumers) == (1, 1)


async def test_declaring_again_changes_nothing(broker: Broker) -> None:
    """Messages and bindings stay."""
    await send(broker, some())
    await broker.declare(EXCHANGE, QUEUES)
    await broker.publish(some(), exchange=EXCHANGE, routing_key="thing.done")
    await eventually(lambda: _has(broker, 2))


async def test_a_queue_that_is_not_there(broker: Broker) -> None:
    """Cannot be consumed from, and holds nothing."""
    with pytest.raises(BrokerUnavailable, match="nowhere"):
        await broker.consume("nowhere", prefetch=1, deliver=Taken().append)
    assert await broker.count("nowhere") == 0
    assert broker.connected


async def test_many_publishes_at_once(broker: Broker) -> None:
    """Each arrives once, also those of one id."""
    taken = Taken()
    await broker.consume("work", prefetch=1000, deliver=taken.append)
    messages = [some(b"%d" % number) for number in range(300)]
    messages += [replace(messages[0], body=b"same id %d" % number) for number in range(20)]
    async with asyncio.TaskGroup() as group:
        for message in messages:
            group.create_task(send(broker, message))
    await taken.reaches(320)
    assert {each.message.body for each in taken} == {each.body for each in messages}


async def test_a_message_arrives_as_it_was_sent(broker: Broker) -> None:
    """All properties, and headers of all types."""
    taken = Taken()
    sent = Message(
        bytes(range(256)) * 1200,  # more than two frames
        message_id="i" * 255,
        type="t\x00 \U0001f600",
        app_id="ä" * 127,
        timestamp=datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC),
        headers=VALUES,
        content_type="text/plain",
        content_encoding="gzip",
        correlation_id="c",
        reply_to="r",
    )
    bare = Message(b"", content_type=None)
    await broker.consume("work", prefetch=5, deliver=taken.append)
    await send(broker, sent, bare)
    await taken.reaches(2)
    assert taken[0].message == sent
    assert taken[1].message == bare


async def test_a_message_arrives_as_it_was_sent_after_a_return(broker: Broker) -> None:
    """RabbitMQ writes the headers anew when it counts a return."""
    taken = Taken()
    sent = some(headers=VALUES)
    await send(broker, sent)
    await broker.consume("work", prefetch=5, deliver=taken.append)
    await taken.reaches(1)
    await taken[0].release()
    await taken.reaches(2)
    assert {name: taken[1].message.headers[name] for name in VALUES} == VALUES
    assert replace(taken[1].message, headers={}) == replace(sent, headers={})


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"a": "x" * 200_000}},
        {"headers": {f"h{number}": "x" * 1000 for number in range(140)}},
        {"headers": {"n" * 129: "a name that would be cut"}},
        {"headers": {"a": {"n" * 129: "inside another"}}},
        {"headers": {"a": 2**64}},
        {"headers": {"a": object()}},
        {"type": "t" * 256},
        {"message_id": "ü" * 128},
        {"timestamp": datetime(1969, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_what_rabbitmq_would_close_the_connection_over_is_not_sent(
    broker_url: str, changes: dict[str, Any]
) -> None:
    """Others that are under way at the same time are not lost, and the next publish works."""
    settings = SERVICE.load_settings(
        _env_file=None,
        environment="test",
        database_url="postgresql://nobody@127.0.0.1:1/none",
        broker_url=broker_url,
    )
    async with message_broker(SERVICE.name, settings, Metrics()) as broker:
        await broker.declare(EXCHANGE, QUEUES)
        good = [send(broker, some()) for _ in range(5)]
        bad = broker.publish(some(**changes), exchange=EXCHANGE, routing_key="thing.done")
        *sent, refused = await asyncio.gather(*good, bad, return_exceptions=True)
        assert sent == [None] * 5
        assert isinstance(refused, Unpublishable)
        with pytest.raises(Unpublishable):
            await broker.publish(some(), exchange=EXCHANGE, routing_key="k" * 256)
        await send(broker, some())
        assert broker.connected
