"""RabbitMQ behind the port: what goes wrong with it, and what the adapter makes of that."""

import asyncio
import itertools
import os
import random
import secrets
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import pytest

from acme_orders.chassis.errors import (
    BrokerUnavailable,
    ConfigurationError,
    PublishFailed,
    Unroutable,
)
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.intake import Intake
from acme_orders.chassis.messaging.settings import MessagingSettings
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE, Queue, State
from acme_orders.chassis.messaging.waiting_room import Held
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.rabbitmq import broker as rabbitmq
from acme_orders.chassis.rabbitmq import link
from acme_orders.chassis.rabbitmq.broker import RabbitBroker
from acme_orders.chassis.rabbitmq.settings import BrokerSettings
from acme_orders.chassis.rabbitmq.subscription import RabbitSubscription
from acme_orders.chassis.supervision import Supervisor

from dev.ports import free_ports
from dev.proxy import Proxy
from dev.rabbitmq import RabbitMQ
from dev.virtual_hosts import VirtualHosts
from tests.chassis.conftest import Connect, consuming, count, eventually, send, settled, sold
from tests.chassis.faults.wire import long, properties, short, table, wire
from tests.chassis.slices.sales.messages import SALE_MADE

WORK = Queue("work", bindings=("thing.done",))
LATER = Queue("later", dead_letter_to="work", ttl=0.2)


def connected(
    url: str, *, heartbeat: int = 15, publish_timeout: float = 60
) -> AbstractAsyncContextManager[RabbitBroker]:
    """A broker of our own."""
    settings = BrokerSettings(broker_url=url, heartbeat=heartbeat, publish_timeout=publish_timeout)
    return rabbitmq.connect(settings, service="tests", metrics=Metrics())


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator[RabbitBroker]:
    """On the virtual host of this test, with two queues."""
    async with connected(broker_url) as found:
        await found.declare("events", [WORK, LATER])
        yield found


@pytest.fixture
def proxy(broker_url: str) -> Iterator[Proxy]:
    """A network between us and RabbitMQ."""
    where = urlsplit(broker_url)
    with Proxy(str(where.hostname), where.port or 5672) as found:
        yield found


def some(body: bytes = b"{}", *, message_id: str | None = None) -> Message:
    """A message."""
    return Message(body, message_id or str(uuid4()))


async def put(broker: RabbitBroker, *messages: Message, queue: str = "work") -> None:
    """Publish to a queue."""
    for message in messages:
        await broker.publish(message, exchange=DEFAULT_EXCHANGE, routing_key=queue)


async def delete(url: str, queue: str) -> None:
    """Delete a queue, as somebody with a mouse does."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.queue_delete(queue)


async def consumer(
    broker: RabbitBroker, *, prefetch: int = 10
) -> tuple[list[Delivery], RabbitSubscription]:
    """All that is delivered from now on."""
    taken: list[Delivery] = []
    return taken, await broker.consume("work", prefetch=prefetch, deliver=taken.append)


async def problems(broker: RabbitBroker, *queues: Queue) -> list[str | None]:
    """What is wrong with the exchange and these queues."""
    return [each.problem for each in await broker.inspect("events", queues)]


# Queues


async def test_another_queue_of_this_name(broker: RabbitBroker) -> None:
    """The error says which queue, which argument, and both values; the others are declared."""
    other = [Queue("work", delivery_limit=7), Queue("later", dead_letter_to="work", ttl=9)]
    with pytest.raises(ConfigurationError) as refused:
        await broker.declare("events", [*other, Queue("new")])
    text = str(refused.value)
    assert "queue work: x-delivery-limit is none, this version declares 7" in text
    assert "queue later: x-message-ttl is" in text
    assert "9000" in text
    assert "200" in text
    assert await problems(broker, WORK, LATER, Queue("new")) == [None] * 4
    _, differing = await broker.inspect("events", other[:1])
    assert "x-delivery-limit" in (differing.problem or "")


async def test_a_queue_deleted_under_its_consumer(broker: RabbitBroker, broker_url: str) -> None:
    """It is there again, with its arguments and bindings, and is consumed from."""
    await put(broker, some(b"lost with the queue"))
    taken, _ = await consumer(broker)
    await eventually(lambda: taken)
    await delete(broker_url, "work")
    await eventually(lambda: not broker.connected)
    await eventually(lambda: broker.connected)
    assert not taken[0].open
    await broker.publish(some(b"after"), exchange="events", routing_key="thing.done")
    await eventually(lambda: taken[-1].message.body == b"after")
    assert await problems(broker, WORK) == [None] * 2


async def test_a_retry_queue_that_was_deleted(
    broker: RabbitBroker, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is declared again by the first message that needs it; that arrives, once.

    Two must not declare it at once: to the second, RabbitMQ says that it is there too early.
    """
    declarations, declaring = broker._declarations, asyncio.Lock()
    declare = declarations._declare

    async def alone(exchanges: Iterable[str], queues: Iterable[tuple[str, Queue]]) -> list[State]:
        assert not declaring.locked()
        async with declaring:
            return await declare(exchanges, queues)

    monkeypatch.setattr(declarations, "_declare", alone)
    taken, _ = await consumer(broker)
    await delete(broker_url, "later")
    messages = [some(b"%d" % number) for number in range(10)]
    await asyncio.gather(*(put(broker, each, queue="later") for each in messages))
    await eventually(lambda: len(taken) == 10)
    assert {each.message.body for each in taken} == {each.body for each in messages}
    assert await problems(broker, LATER) == [None] * 2
    with pytest.raises(PublishFailed):
        await put(broker, some(), queue="never declared")


# Publishing


async def test_of_two_with_one_id_the_lost_one_fails(broker: RabbitBroker) -> None:
    """In whichever sale; RabbitMQ returns messages without saying which publish it was."""
    for number in range(20):
        message = some(message_id="same")
        keys = ["work", "nowhere"] if number % 2 else ["nowhere", "work"]
        results = await asyncio.gather(
            *(put(broker, message, queue=key) for key in keys), return_exceptions=True
        )
        assert {key: type(result) for key, result in zip(keys, results, strict=True)} == {
            "work": type(None),
            "nowhere": Unroutable,
        }
    assert await broker.count("work") == 20


async def test_settling_twice_keeps_the_channel(broker: RabbitBroker) -> None:
    """RabbitMQ would close it, and deliver all the others once more."""
    await put(broker, some(b"1"), some(b"2"))
    taken, subscription = await consumer(broker)
    await eventually(lambda: len(taken) == 2)
    channel = subscription._channel
    await asyncio.gather(*(taken[0].ack() for _ in range(3)), taken[0].release())
    await put(broker, some(b"3"))
    await eventually(lambda: len(taken) == 3)
    assert channel is subscription._channel
    assert channel is not None
    assert not channel.is_closed
    assert [each.returns for each in taken] == [0, 0, 0]


# Connections


async def test_a_connection_that_breaks(
    broker: RabbitBroker, broker_url: str, proxy: Proxy
) -> None:
    """Both come back, what was open is delivered again, and work in progress goes on."""
    async with connected(proxy.url(broker_url)) as far:
        await put(broker, some(b"1"), some(b"2"))
        taken, _ = await consumer(far)
        await eventually(lambda: len(taken) == 2)
        done = asyncio.Event()
        work = asyncio.create_task(done.wait())
        proxy.reset()
        await eventually(lambda: not far.connected)
        assert [each.open for each in taken[:2]] == [False, False]
        with pytest.raises(BrokerUnavailable):
            await taken[0].ack()
        await eventually(lambda: far.connected)
        await eventually(lambda: len(taken) == 4)
        assert [each.returns for each in taken] == [0, 0, 1, 1]
        await put(far, some(b"3"))
        assert not work.done()
        done.set()
        await work


async def test_connections_that_break_soon(
    broker_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is replaced at once, others after a while: each costs messages in hand a return."""
    pauses: list[float] = []

    def short(_: float, longest: float) -> float:
        pauses.append(longest)
        return 0.01

    monkeypatch.setattr(link, "random", SimpleNamespace(uniform=short, sample=random.sample))
    async with connected(proxy.url(broker_url)) as far:
        for number in range(1, 4):
            proxy.reset()
            await eventually(lambda: len(pauses) == 3 * number and all_connected(far))  # noqa: B023
    assert pauses == [0.1] * 3 + [1.0] * 6


def all_connected(broker: RabbitBroker) -> bool:
    """Also the connection for declarations, without which the service is well."""
    return broker.connected and broker._declarations._link.connected


async def test_an_outage_when_consuming_begins(
    broker: RabbitBroker, broker_url: str, proxy: Proxy
) -> None:
    """It is waited out like any other: a process that is ready does not end of it."""
    await put(broker, some())
    async with connected(proxy.url(broker_url)) as far:
        proxy.refuse()
        taken, _ = await consumer(far)
        assert not far.connected
        proxy.pass_on()
        await eventually(lambda: taken and far.connected)


async def test_a_silent_network(broker: RabbitBroker, broker_url: str, proxy: Proxy) -> None:
    """Whoever waits is told of an outage, and not cancelled: that would end a worker silently."""
    async with connected(proxy.url(broker_url), heartbeat=1) as far:
        await put(far, some())
        proxy.black_hole()
        publishes = [asyncio.create_task(put(far, some())) for _ in range(5)]
        await asyncio.wait(publishes, timeout=50)
        for each in publishes:
            assert isinstance(each.exception(), BrokerUnavailable)
        proxy.pass_on()
        await eventually(lambda: far.connected)
        await put(far, some())


async def test_an_end_while_nothing_answers(
    broker: RabbitBroker, broker_url: str, proxy: Proxy
) -> None:
    """Nothing of a connection is left: what the end of the loop cancelled would wait for ever."""
    before = asyncio.all_tasks()
    async with connected(proxy.url(broker_url)) as far:
        await put(far, some())
        await consumer(far)
        proxy.black_hole()
    assert asyncio.all_tasks() == before


async def test_several_nodes(broker_url: str, proxy: Proxy) -> None:
    """A dead one is passed over; when the one in use dies, it goes on with another."""
    (dead,) = free_ports(1)
    where = urlsplit(broker_url)
    user = where.netloc.rpartition("@")[0]
    with Proxy(str(where.hostname), where.port or 5672) as other:
        nodes = f"127.0.0.1:{dead},127.0.0.1:{proxy.port},127.0.0.1:{other.port}"
        await fail_over(f"amqp://{user}@{nodes}{where.path}", [proxy, other])
    with pytest.raises(BrokerUnavailable, match=f"BROKER_URL.* at 127.0.0.1:{dead}: "):
        async with connected(f"amqp://{user}@127.0.0.1:{dead}{where.path}"):
            pytest.fail("connected to nobody")


async def fail_over(url: str, ways: list[Proxy]) -> None:
    """Cut the way that is used most, so not by the declarations alone; the other serves."""
    async with connected(url) as broker:
        await broker.declare("events", [WORK])
        taken, _ = await consumer(broker)
        max(ways, key=lambda way: way.connections).refuse()
        await eventually(lambda: not broker.connected)
        await eventually(lambda: broker.connected)
        await put(broker, some())
        await eventually(lambda: taken)


async def test_permissions_that_are_taken_away(broker: RabbitBroker, broker_url: str) -> None:
    """It says that it is not connected, and goes on when they are granted again."""
    management = os.environ["RABBITMQ_MANAGEMENT_URL"]
    hosts, user = VirtualHosts(broker_url, management), f"user-{secrets.token_hex(4)}"
    where = urlsplit(broker_url)
    permissions = f"/api/permissions{where.path}/{user}"
    everything = dict.fromkeys(("configure", "write", "read"), ".*")
    hosts.ask("PUT", f"/api/users/{user}", {"password": "secret", "tags": ""})
    hosts.ask("PUT", permissions, everything)
    try:
        url = f"amqp://{user}:secret@{where.hostname}:{where.port}{where.path}"
        async with connected(url) as limited:
            taken, subscription = await consumer(limited)
            hosts.ask("PUT", permissions, dict.fromkeys(everything, "^$"))
            await subscription.restart()
            with pytest.raises(BrokerUnavailable):
                await limited.declare("events", [WORK])
            await eventually(lambda: not limited.connected)
            hosts.ask("PUT", permissions, everything)
            await eventually(lambda: limited.connected)
            await put(broker, some())
            await eventually(lambda: taken)
    finally:
        hosts.ask("DELETE", f"/api/users/{user}")


async def test_a_consumer_that_stalls(broker: RabbitBroker) -> None:
    """Nothing arrives, although messages wait: it consumes anew."""
    metrics, subscriptions = Metrics(), []
    real = broker.consume

    async def consume(*args: Any, **kwargs: Any) -> RabbitSubscription:
        subscriptions.append(await real(*args, **kwargs))
        return subscriptions[0]

    broker.consume = consume  # type: ignore[method-assign]  # to get hold of the subscription
    processed: list[Delivery] = []

    async def process(deliveries: Sequence[Delivery]) -> Held:
        for each in deliveries:
            await each.ack()
            processed.append(each)
        return {}

    intake = Intake(
        queue="work",
        broker=broker,
        process=process,
        put_back=Delivery.release,
        settings=MessagingSettings(concurrency=1, batch_size=1, prefetch=5, stall_timeout=0.3),
        part="consumer",
        metrics=metrics,
        supervisor=Supervisor(metrics),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(intake.run(stop))
        await eventually(lambda: subscriptions)
        (subscription,) = subscriptions
        assert subscription._channel is not None
        assert subscription._tag is not None
        await subscription._channel.basic_cancel(subscription._tag)
        await put(broker, some(b"waits"))
        await eventually(lambda: processed)
        stop.set()
    assert metrics.registry.get_sample_value("consumer_stalls_total", {"queue": "work"}) == 1


def _reaches(taken: list[Delivery], number: int) -> bool:
    return len(taken) == number


async def test_a_broker_short_of_memory() -> None:
    """It takes no message, and we do not wait for ever; acks go on."""
    with RabbitMQ() as node:
        async with connected(node.url) as broker, connected(node.url, publish_timeout=1) as hasty:
            await broker.declare("events", [WORK])
            await put(broker, *(some() for _ in range(3)))
            taken, _ = await consumer(broker, prefetch=1)
            await eventually(lambda: taken)
            await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "absolute", "1")
            with pytest.raises(BrokerUnavailable, match="no confirm"):
                for arrived in itertools.count():  # noqa: B007
                    # The alarm is raised a moment later.
                    await put(hasty, some())
            for number in range(1, 4 + arrived):
                await eventually(partial(_reaches, taken, number))
                await taken[-1].ack()
            await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.9")
            await put(broker, some())


# Properties that nobody can read

SHORT = ("message_id", "type", "app_id", "content_type", "content_encoding", "correlation_id",
         "reply_to", "cluster_id")  # fmt: skip


def nested(depth: int) -> bytes:
    """Tables in tables."""
    value = b"V"
    for _ in range(depth):
        value = b"F" + table([(b"a", value)])
    return value


UNREADABLE = {
    **{name: {name: short(b"\xff\xfe")} for name in SHORT},
    "timestamp": {"timestamp": struct.pack(">Q", 2**63)},
    "header name": {"headers": table([(b"\xff", b"V")])},
    "time in a header": {"headers": table([(b"h", b"T" + b"\xff" * 8)])},
    "deep": {"headers": table([(b"h", nested(3000))])},
}


async def test_unreadable_properties(connect: Connect, broker_url: str) -> None:
    """Each is a dead letter, the connection stays, and a good message is processed."""
    async with connect(broker_url=broker_url) as service, consuming(service):
        async with wire(broker_url) as client:
            for fields in UNREADABLE.values():
                await client.publish(
                    properties(fields), b"{}", exchange="events", routing_key=SALE_MADE
                )
            await client.confirmed()
        await send(service, sold())
        await eventually(lambda: settled(service, "done") == 1)
        await eventually(lambda: settled(service, "dead_lettered") == len(UNREADABLE))
        metrics = service.metrics.registry
        malformed = metrics.get_sample_value("dead_letters_total", {"reason": "malformed"})
        assert malformed == len(UNREADABLE)
        for role in ("consume", "publish"):
            assert not metrics.get_sample_value("broker_reconnects_total", {"role": role})
        assert await count(service, "sales") == 1


@pytest.mark.parametrize(
    "content",
    [
        properties({"headers": table([(b"h", b"Q\x00")])}),
        properties({"headers": table([(b"h", b"d" + struct.pack(">d", float("nan")))])}),
        struct.pack(">H", 0xFFFC) + b"\x01a",
        properties({"headers": struct.pack(">I", 500) + b"\x01hV"}),
    ],
    ids=["type", "not a number", "flags", "length"],
)
async def test_what_rabbitmq_refuses_itself(broker_url: str, content: bytes) -> None:
    """So none of it is ever delivered to us."""
    async with wire(broker_url) as client:
        await client.publish(content, b"{}", exchange="amq.topic", routing_key="any")
        with pytest.raises(ConnectionError, match=r"541|closed"):
            await client.confirmed()


async def dead_letter(connect: Connect, broker_url: str, fields: dict[str, bytes]) -> Message:
    """What becomes of a message with these properties, of a type that nobody handles."""
    async with connect(broker_url=broker_url) as service, consuming(service):
        async with wire(broker_url) as client:
            await client.publish(
                properties(fields), b"{}", exchange="events", routing_key=SALE_MADE
            )
            await client.confirmed()
        await eventually(lambda: settled(service, "dead_lettered") == 1)
        found: list[Delivery] = []
        await service.broker.consume(
            service.topology.dead_letters.name, prefetch=1, deliver=found.append
        )
        await eventually(lambda: found)
        return found[0].message


async def test_a_copy_has_all_that_it_can_have(connect: Connect, broker_url: str) -> None:
    """Also what RabbitMQ would check or obey is not lost: it is said."""
    fields = {
        "headers": table([(b"x-request-id", long(b"r-1"))]),
        "priority": b"\x03",
        "correlation_id": short(b"c"),
        "reply_to": short(b"r"),
        "expiration": short(b"60000"),
        "message_id": short(b"copied"),
        "type": short(b"unknown"),
        "user_id": short(b"guest"),
    }
    copy = await dead_letter(connect, broker_url, fields)
    assert (copy.priority, copy.correlation_id, copy.reply_to) == (3, "c", "r")
    assert copy.headers["x-request-id"] == "r-1"
    assert copy.headers["dropped-properties"] == "expiration=60000, user_id=guest"
    assert (copy.expiration, copy.user_id) == (None, None)


async def test_odd_headers_survive_a_copy(connect: Connect, broker_url: str) -> None:
    """What was read can be sent: also bytes, large floats, and what clashes with ours."""
    odd = [
        (b"bytes", long(b"\xff")),
        (b"float", b"d" + struct.pack(">d", 1e300)),
        (b"decimal", b"D\xff\x7f\xff\xff\xff"),
        (b"retry-first-failed-at", long(b"x" * 65_200)),
        (b"y" * 200, b"V"),
    ]
    fields = {"headers": table(odd), "message_id": short(b"odd"), "type": short(b"unknown")}
    headers = (await dead_letter(connect, broker_url, fields)).headers
    assert (headers["bytes"], headers["float"]) == (b"\xff", 1e300)
    assert headers["dl-reason"] == "unknown_type"
    assert "decimal" in headers["dropped-headers"]
