"""Somebody changes exchange, queues, bindings and policies: it is seen, and restored or said."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.errors import (
    BrokerUnavailable,
    TopologyDiffers,
    Unroutable,
)
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.topology import Topology
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.rabbitmq import broker as rabbitmq
from acme_orders.chassis.rabbitmq import declarations, management, topology_watch
from acme_orders.chassis.rabbitmq.broker import RabbitBroker
from acme_orders.chassis.rabbitmq.settings import BrokerSettings
from acme_orders.chassis.rabbitmq.topology_watch import TopologyWatch

from dev.proxy import Proxy
from tests.chassis.conftest import eventually
from tests.chassis.faults.management import Management
from tests.chassis.hostile_passwords import PASSWORDS

TOPOLOGY = Topology.of(
    "shop", ["thing.done"], ladder=[60], delivery_limit=100, suspect_deliveries=3
)
MAIN, STEP, DEAD_LETTERS = TOPOLOGY.main, TOPOLOGY.ladder[0], TOPOLOGY.dead_letters


async def unbind(operator: Management) -> None:
    """Nothing arrives at the main queue any more."""
    await operator.unbind("events", "shop", "thing.done")


async def delete_exchange(operator: Management) -> None:
    """All bindings go with it."""
    await operator.delete_exchange("events")


@dataclass
class Watched:
    """A process, as far as it has to do with RabbitMQ."""

    broker: RabbitBroker
    watch: TopologyWatch
    metrics: Metrics

    def count(self, metric: str, **labels: str) -> float:
        """The value of a metric; 0 if it is not there."""
        return self.metrics.registry.get_sample_value(metric, labels) or 0

    async def problems(self) -> list[str]:
        """What a look finds, and does not restore."""
        await self.watch.look()
        return [problem.what for _, problem in self.watch._problems]


Watch = Callable[..., Awaitable[Watched]]


@pytest.fixture
def operator(broker_url: str) -> Management:
    """Somebody with a mouse, in the virtual host of this test."""
    return Management(broker_url, os.environ["RABBITMQ_MANAGEMENT_URL"])


@pytest.fixture
async def watch(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    """Start a process; an operator has little time to replace something."""
    monkeypatch.setattr(declarations, "GRACE", 0.3)
    monkeypatch.setattr(topology_watch, "GRACE", 0.3)
    monkeypatch.setattr(management, "_TIMEOUT", 30)  # whoever does not answer is not there at all
    async with AsyncExitStack() as stack:

        async def start(
            management_url: str | None = os.environ.get("RABBITMQ_MANAGEMENT_URL"),
            url: str = broker_url,
        ) -> Watched:
            metrics = Metrics()
            found: AbstractAsyncContextManager[RabbitBroker] = rabbitmq.connect(
                BrokerSettings(broker_url=url, rabbitmq_management_url=management_url),
                service="tests",
                metrics=metrics,
            )
            broker = await stack.enter_async_context(found)
            await broker.declare("events", TOPOLOGY)
            watching = TopologyWatch(broker, TOPOLOGY, every=30, metrics=metrics)
            return Watched(broker, watching, metrics)

        yield start


async def arrives(broker: RabbitBroker) -> None:
    """An event gets into the main queue."""
    before = await broker.count("shop")
    await broker.publish(Message(b"{}"), exchange="events", routing_key="thing.done")
    await eventually(lambda: _waits(broker, before + 1))


async def _waits(broker: RabbitBroker, number: int) -> bool:
    return await broker.count("shop") == number


RESTORED: dict[str, tuple[str, Callable[[Management], Awaitable[None]]]] = {
    "a binding": ("shop", unbind),
    "the exchange": ("events", delete_exchange),
    "the main queue": ("shop", lambda operator: operator.delete_queue("shop")),
    "a retry queue": (STEP.name, lambda operator: operator.delete_queue(STEP.name)),
    "dead letters": (DEAD_LETTERS.name, lambda operator: operator.delete_queue(DEAD_LETTERS.name)),
}


@pytest.mark.parametrize("what", RESTORED)
async def test_what_is_missing_is_declared_again(
    what: str, watch: Watch, operator: Management
) -> None:
    """Counted and said, once; nobody else is disturbed."""
    process, (name, remove) = await watch(), RESTORED[what]
    assert await process.problems() == []
    await remove(operator)
    with capture_logs() as logs:
        assert await process.problems() == []
    assert [each["event"] for each in logs] == ["topology.restored"]
    assert name in logs[0]["part"]
    assert process.count("topology_restored_total", name=name) == 1
    await arrives(process.broker)
    await process.watch.check()
    with capture_logs() as logs:
        assert await process.problems() == []
    assert logs == []


@pytest.mark.parametrize("what", RESTORED)
async def test_without_the_management_api(what: str, watch: Watch, operator: Management) -> None:
    """It sees no bindings, and so it binds in every look."""
    process, (_, remove) = await watch(None), RESTORED[what]
    await remove(operator)
    assert await process.problems() == []
    await arrives(process.broker)
    assert process.broker.unseen == "RABBITMQ_MANAGEMENT_URL is not set"


async def test_whoever_removes_it_again_means_it(watch: Watch, operator: Management) -> None:
    """It is said, until the operator binds it again or a while has passed."""
    process = await watch()
    await unbind(operator)
    assert await process.problems() == []
    await unbind(operator)
    what = "is not bound to thing.done on exchange events"
    with capture_logs() as logs:
        for _ in range(3):
            assert await process.problems() == [what]
    assert [each["event"] for each in logs] == ["topology.differs"]
    with pytest.raises(Unroutable):
        await arrives(process.broker)
    with pytest.raises(TopologyDiffers, match=what):
        await process.watch.check()
    assert process.count("topology_problems", kind="loses") == 1
    process.watch._restored.clear()  # as after ten minutes
    assert await process.problems() == []
    await process.watch.check()


async def test_an_exchange_that_is_removed_again_is_said(
    watch: Watch, operator: Management
) -> None:
    """Also by a process that does not see whether its queues are bound."""
    process = await watch(None)
    await delete_exchange(operator)
    assert await process.problems() == []
    await delete_exchange(operator)
    assert await process.problems() == ["is missing"]
    with pytest.raises(TopologyDiffers, match="exchange events: is missing"):
        await process.watch.check()


async def _as_classic(operator: Management) -> None:
    await operator.replace_queue("shop", {"x-queue-type": "classic"})


async def _with_another_limit(operator: Management) -> None:
    await operator.replace_queue("shop", {**MAIN.arguments, "x-delivery-limit": 7})


SAID: dict[str, tuple[str, bool, Callable[[Management], Awaitable[None]]]] = {
    "main queue, classic": (
        "x-queue-type is classic, this version declares quorum", True, _as_classic),
    "main queue, another limit": (
        "x-delivery-limit is 7, this version declares 100", False, _with_another_limit),
    "exchange of another type": (
        "type is direct, this version declares topic", True,
        lambda operator: operator.replace_exchange("events", "direct")),
    "exchange with an alternate": (
        "alternate-exchange is amq.fanout, this version declares none", False,
        lambda operator: operator.replace_exchange(
            "events", "topic", alternate_exchange="amq.fanout")),
    "messages expire": (
        "message-ttl is 60000 by policy limits", True,
        lambda operator: operator.set_policy("^shop$", message_ttl=60_000)),
    "dead letters are dropped": (
        "max-length is 10 by policy limits", True,
        lambda operator: operator.set_policy("dead-letters$", max_length=10)),
    "messages are given up sooner": (
        "delivery-limit is 7 by policy limits", False,
        lambda operator: operator.set_policy("^shop$", delivery_limit=7)),
    "unroutable events go elsewhere": (
        "alternate-exchange is amq.fanout by policy limits", False,
        lambda operator: operator.set_policy(
            "^events$", "exchanges", alternate_exchange="amq.fanout")),
}  # fmt: skip


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(each, marks=[pytest.mark.long] if place % 3 else [])
        for place, each in enumerate(SAID)
    ],
)
async def test_what_differs_is_said(what: str, watch: Watch, operator: Management) -> None:
    """Once when it begins and once when it ends; nothing of it is changed."""
    (problem, loses, change), process = SAID[what], await watch()
    assert await process.problems() == []
    await change(operator)
    with capture_logs() as logs:
        await eventually(lambda: _found(process, problem))
        assert problem in await process.problems()
    told = [each for each in logs if each.get("what") == problem]
    assert [each["event"] for each in told] == ["topology.differs"]
    assert told[0]["loses"] is loses
    assert told[0]["helps"]
    assert process.count("topology_problems", kind="loses" if loses else "differs")
    if loses:
        with pytest.raises(TopologyDiffers, match=problem):
            await process.watch.check()
    else:
        assert problem in str(await process.watch.check())
    if "policy" in problem:
        await operator.clear_policy()
    else:
        await delete_exchange(operator)
        await operator.delete_queue("shop")
    with capture_logs() as logs:
        await eventually(lambda: _nothing(process))
    told = [each for each in logs if each.get("what") == problem]
    assert [each["event"] for each in told] == ["topology.as_declared"]
    assert process.count("topology_problems", kind="loses" if loses else "differs") == 0
    await arrives(process.broker)


async def _found(process: Watched, problem: str) -> bool:
    return problem in await process.problems()


async def _nothing(process: Watched) -> bool:
    return await process.problems() == []


async def test_without_the_management_api_the_first_difference_is_said(
    watch: Watch, operator: Management
) -> None:
    """RabbitMQ says no more, and tells nothing of policies."""
    process = await watch(None)
    await _as_classic(operator)
    await operator.set_policy("^shop$", message_ttl=60_000)
    assert await process.problems() == ["x-dead-letter-exchange is none, this version declares "]
    with pytest.raises(TopologyDiffers):
        await process.watch.check()


async def test_a_look_disturbs_nobody(watch: Watch, operator: Management) -> None:
    """RabbitMQ closes a channel for each declaration that does not fit: never one of the others."""
    process = await watch()
    taken: list[Any] = []
    await process.broker.consume("shop", prefetch=10, deliver=taken.append)
    await process.broker.publish(Message(b"1"), exchange="", routing_key="shop")
    await eventually(lambda: taken)
    await operator.delete_queue(STEP.name)
    await operator.declare_queue(STEP.name, queue_type="classic")
    await operator.replace_exchange("events", "direct")
    for _ in range(25):
        assert len(await process.problems()) > 2
    assert taken[0].open
    await taken[0].ack()
    await process.broker.publish(Message(b"2"), exchange="", routing_key="shop")
    await eventually(lambda: len(taken) == 2)
    for role in ("consume", "publish", "declare"):
        assert process.count("broker_reconnects_total", role=role) == 0


@pytest.mark.parametrize("who", ["look", "consumer"])
async def test_an_operator_is_not_forestalled(
    who: str, watch: Watch, operator: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted may be there again in a moment, as the operator wants it."""
    noticed, replaced = asyncio.Event(), asyncio.Event()

    async def grace(_: float) -> None:
        noticed.set()
        await replaced.wait()

    monkeypatch.setattr(declarations, "asyncio", SimpleNamespace(sleep=grace, Lock=asyncio.Lock))
    process = await watch()
    taken: list[Any] = []
    queue = STEP.name if who == "look" else "shop"
    if who == "consumer":
        await process.broker.consume("shop", prefetch=10, deliver=taken.append)
    await operator.delete_queue(queue)
    looking = asyncio.create_task(process.watch.look()) if who == "look" else None
    await noticed.wait()
    await operator.declare_queue(queue, queue_type="quorum", delivery_limit=7)
    replaced.set()
    if looking:
        await looking
    else:
        await eventually(lambda: process.broker.connected)
    assert await operator.queue_arguments(queue) == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 7,
    }
    assert any("x-dead-letter-exchange" in each for each in await process.problems())


async def test_several_processes(watch: Watch, operator: Management) -> None:
    """Whoever comes first restores it; none of them fails, and together they say it a few times."""
    several = [await watch() for _ in range(5)]
    for remove in (unbind, delete_exchange, RESTORED["a retry queue"][1]):
        await remove(operator)
        with capture_logs() as logs:
            await asyncio.gather(*(each.watch.look() for each in several))
        assert {each["event"] for each in logs} <= {"topology.restored"}
        assert 1 <= len(logs) <= len(several)
        for each in several:
            assert await each.problems() == []
    await arrives(several[0].broker)


@pytest.mark.parametrize(
    ("management", "why"),
    [
        ("http://guest:wrong@{}", "401"),
        ("http://guest:wrong@127.0.0.1:1", "refused"),
        ("http://guest:wrong@nobody.invalid:15672", "nobody.invalid"),
    ],
)
async def test_a_management_api_that_does_not_answer(
    management: str, why: str, watch: Watch, operator: Management
) -> None:
    """It is the same as without, and `doctor` says why."""
    place = urlsplit(os.environ["RABBITMQ_MANAGEMENT_URL"]).netloc.rpartition("@")[2]
    process = await watch(management.format(place))
    await unbind(operator)
    assert await process.problems() == []
    await arrives(process.broker)
    assert process.broker.unseen
    assert why in process.broker.unseen
    assert "wrong" not in process.broker.unseen


@pytest.mark.parametrize(
    "password",
    [
        PASSWORDS[0],
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in (*PASSWORDS[1::9], *PASSWORDS[30::30])
        ),
    ],
)
async def test_a_user_of_the_management_api(
    password: str, watch: Watch, operator: Management
) -> None:
    """Its password may be anything, and the tag `management` is enough."""
    user = f"test_{uuid4().hex}"
    await operator.admit(user, password=password, tags="management")
    place = urlsplit(os.environ["RABBITMQ_MANAGEMENT_URL"]).netloc.rpartition("@")[2]
    try:
        process = await watch(f"http://{user}:{quote(password, safe='')}@{place}")
        await operator.set_policy("^shop$", message_ttl=60_000)
        await eventually(lambda: _found(process, "message-ttl is 60000 by policy limits"))
        assert process.broker.unseen is None
    finally:
        await operator.dismiss(user)


async def test_an_outage_changes_no_opinion(
    watch: Watch, operator: Management, broker_url: str
) -> None:
    """What was wrong may still be, and what was well too."""
    where = urlsplit(broker_url)
    with Proxy(str(where.hostname), where.port or 5672) as network:
        process = await watch(url=network.url(broker_url))
        await operator.set_policy("^shop$", message_ttl=60_000)
        await eventually(lambda: _found(process, "message-ttl is 60000 by policy limits"))
        network.refuse()
        await eventually(lambda: not process.broker._declarations._link.connected)
        with capture_logs() as logs, pytest.raises(BrokerUnavailable):
            await process.watch.look()
        assert not [each for each in logs if each["event"].startswith("topology")]
        with pytest.raises(TopologyDiffers):
            await process.watch.check()
