"""F58: the disk under a RabbitMQ of these tests alone is nearly full, or full to its last byte."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from dev.rabbitmq import RabbitMQ
from dev.small_disk import NoSmallDisk, SmallDisk
from tests.conftest import eventually
from tests.faults.conditions import arrived, at_least, busy, published, spent_nothing
from tests.faults.conftest import Settle
from tests.faults.fleet import Fleet
from tests.faults.load import Load
from tests.faults.site import Site

LEFT = 5_000_000  # bytes, half of the limit of the server
SOON = 20.0  # seconds until all goes on; a fifth on a machine that has nothing else to do


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk]:
    """The disk of the server."""
    try:
        with SmallDisk(256) as mounted:
            yield mounted
    except NoSmallDisk as why:
        pytest.skip(str(why))


@pytest.fixture
def server(disk: SmallDisk) -> Iterator[RabbitMQ]:
    """A node of one test alone, with all its data on the small disk."""
    with RabbitMQ(disk=disk) as running:
        yield running
        print("RMQLOG", running._server.tail(300))


@pytest.fixture
def broker_url(server: RabbitMQ) -> str:
    """A virtual host on this node, so that all fixtures use it."""
    return server.create_virtual_host()


@pytest.fixture
def environment() -> dict[str, str]:
    """Limits that end every wait soon."""
    return {"HEARTBEAT": "3", "PUBLISH_TIMEOUT": "2s"}


async def alarmed(server: RabbitMQ) -> bool:
    """Whether RabbitMQ has noticed that its disk is nearly full."""
    found = await asyncio.to_thread(server.ctl, "eval", "rabbit_alarm:get_alarms().")
    return "resource_limit" in found


@pytest.mark.long
@pytest.mark.fault("F58", "RabbitMQ has little room, and stops publishers")
async def test_little_room(
    server: RabbitMQ,
    disk: SmallDisk,
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
    record_property: Callable[[str, object], None],
) -> None:
    """What is in the queues is processed and acked; what comes of it waits, and `/ready` says so."""
    await load.send(200, duplicates=20)
    await asyncio.to_thread(disk.fill, leave=LEFT)
    try:
        await eventually(lambda: alarmed(server))
        pair = [await fleet.start() for _ in range(2)]
        async with busy(load):
            waiting = set(load.acknowledged)
            await eventually(lambda: arrived(site, load), within=60)
            await eventually(at_least(2, fleet, "relay_paused", part="publish"))
            assert load.acknowledged == waiting
            for member in pair:
                print(await member.answer("/ready"))
            assert await site.count("outbox") > 150
            assert await fleet.metric("broker_reconnects_total", role="consume") == 0
            await asyncio.to_thread(disk.free)
            began = time.monotonic()
            await eventually(lambda: _goes_on(site, load, waiting), within=SOON)
            record_property("seconds until all went on", round(time.monotonic() - began, 1))
    finally:
        await asyncio.to_thread(disk.free)
    await spent_nothing(fleet, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F58", "RabbitMQ has no room at all")
async def test_no_room(
    server: RabbitMQ, disk: SmallDisk, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """What it cannot write it does not confirm."""
    for _ in range(2):
        await fleet.start()
    async with busy(load):
        await eventually(lambda: site.count("orders"))
        await asyncio.to_thread(disk.fill)
        for i in range(10):
            await asyncio.sleep(2)
            print(
                i,
                server.running,
                disk.left,
                [(await m.answer("/ready")) for m in fleet.members],
                await site.count("orders"),
                len(load.acknowledged),
            )
        await asyncio.to_thread(disk.free)
        for i in range(20):
            await asyncio.sleep(2)
            print(
                i,
                server.running,
                disk.left,
                [(await m.answer("/ready")) for m in fleet.members],
                await site.count("orders"),
                len(load.acknowledged),
            )
        if not server.running:
            await asyncio.to_thread(server.start)
    await spent_nothing(fleet, site, load)
    (await settle()).check()


async def _goes_on(site: Site, load: Load, waiting: set[str]) -> bool:
    """Whether more than these is confirmed and processed, and events go out."""
    return load.acknowledged > waiting and await arrived(site, load) and await published(site)
