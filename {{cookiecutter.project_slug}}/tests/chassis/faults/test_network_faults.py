"""F15 to F17: the network between the processes and RabbitMQ swallows, cuts and delays."""

import asyncio
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import pytest

from dev.proxy import Proxy
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import (
    answers,
    arrived,
    at_least,
    published,
    readiness,
    spent_nothing,
)
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site

# Bytes that each connection may send: within the handshake, the first subscription, the first
# bodies, and later.
STAIRWAY = (*range(50, 1300, 150), *range(1300, 6000, 410), 20_000)


@pytest.fixture
def network(broker_url: str) -> Iterator[Proxy]:
    """What stands between the processes and RabbitMQ; the client of the test goes past it."""
    server = urlsplit(broker_url)
    assert server.hostname is not None
    assert server.port is not None
    with Proxy(server.hostname, server.port) as proxy:
        yield proxy


@pytest.fixture
def environment(network: Proxy, broker_url: str) -> dict[str, str]:
    """The way through this network, and limits that end every wait soon."""
    return {
        "BROKER_URL": network.url(broker_url),
        "HEARTBEAT": "3",
        "PUBLISH_TIMEOUT": "2s",
    }


@pytest.fixture
async def pair(fleet: Fleet) -> Fleet:
    """Two processes at work."""
    await asyncio.gather(fleet.start(), fleet.start())
    return fleet


@pytest.mark.long
@pytest.mark.parametrize("way", ["up", "down", "both"])
@pytest.mark.fault("F15", "the network swallows everything")
async def test_black_hole(
    way: str, network: Proxy, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Nothing is closed; both heartbeats notice, and events wait without losing an attempt."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(300, rate=60))
        await eventually(lambda: site.count("sales"))
        network.black_hole(up=way != "down", down=way != "up")
        await eventually(readiness(pair, 503))
        await eventually(at_least(1, pair, "outbox_publish_failures_total"))
    assert await site.rows("SELECT max(attempts) FROM outbox") == [(0,)]
    network.pass_on()
    await eventually(readiness(pair, 200))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.parametrize("part", ["consumer", "relay"])
@pytest.mark.fault("F15", "the network swallows everything of one part")
async def test_black_hole_of_one_part(
    part: str, network: Proxy, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """The other works on: sales wait in their queue, or events in the outbox."""
    past = {"BROKER_URL": site.broker_url}
    hit = await fleet.start(only=part)
    await fleet.start(only="relay" if part == "consumer" else "consumer", environment=past)
    await load.send(20)
    await eventually(lambda: arrived(site, load))
    network.black_hole()
    await load.send(200)
    if part == "relay":
        await eventually(lambda: arrived(site, load))
        await eventually(at_least(1, fleet, "outbox_publish_failures_total"))
        assert await site.count("outbox") >= 200
        assert await site.rows("SELECT max(attempts) FROM outbox") == [(0,)]
    else:
        await eventually(lambda: published(site))
        assert await site.count("sales") < 220
    await eventually(partial(answers, hit, 503))
    network.pass_on()
    await eventually(readiness(fleet, 200))
    await spent_nothing(fleet, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F16", "connections are cut after so many bytes: a stairway")
async def test_stairway(
    network: Proxy, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """In the middle of a frame, a body, an ack: half a message is none."""
    climbed = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_send_until(climbed, load))
        for limit in STAIRWAY:
            await eventually(readiness(pair, 200))
            before = network.cuts
            network.cut_after(limit)
            network.reset()  # so that each begins to count anew
            await eventually(partial(_cut, network, before + 2))
            network.cut_after(None)
        climbed.set()
    await eventually(readiness(pair, 200))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F16", "streams end in one direction")
async def test_half_closed(
    network: Proxy, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """An end without a good-bye is an end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(200, rate=30))
        for closed in range(5):
            await eventually(readiness(pair, 200))
            network.half_close()
            # Two connections in each of two processes.
            await eventually(at_least(4 * (closed + 1), pair, "broker_reconnects_total"))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F17", "a slow network, with resets")
async def test_slow(network: Proxy, site: Site, load: Load, pair: Fleet, settle: Settle) -> None:
    """Everything takes longer, and nothing else changes."""
    network.delay(0.2)
    reset = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_send_until(reset, load))
        for _ in range(5):
            await eventually(readiness(pair, 200))
            before = await site.count("inbox")
            await eventually(partial(_more, site, before + 50))
            network.reset()
        reset.set()
    # Two processes, each ready with two connections; after the last reset they may not be back.
    assert await pair.metric("broker_reconnects_total") >= 4 * 4
    await spent_nothing(pair, site, load)
    (await settle()).check()


async def _send_until(stop: asyncio.Event, load: Load) -> None:
    """However long it takes: connections that send nothing are not cut any more."""
    while not stop.is_set():
        await load.send(30, duplicates=3, rate=10)


def _cut(network: Proxy, number: int) -> bool:
    return network.cuts >= number


async def _more(site: Site, number: int) -> bool:
    return await site.count("inbox") >= number
