"""F58: the disk under a RabbitMQ of these tests alone is nearly full, or full to its last byte."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from dev.rabbitmq import RabbitMQ
from dev.small_disk import NoSmallDisk, RabbitMQOnDisk, SmallDisk
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import arrived, busy, readiness, spent_nothing, told
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site

LEFT = 5_000_000  # bytes, half of the limit of the server
REPEATED = 30  # publishes without a confirm, which is more than the duplicates on purpose
NOTICED = 90.0  # seconds until RabbitMQ sees that there is room, on a machine that is busy
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
    with RabbitMQOnDisk(disk) as running:
        yield running


@pytest.fixture
def management_url(server: RabbitMQ) -> str:
    """Of this node."""
    return server.management_url


@pytest.fixture
def broker_url(server: RabbitMQ) -> str:
    """A virtual host on this node, so that all fixtures use it."""
    return server.create_virtual_host()


@pytest.fixture
def environment() -> dict[str, str]:
    """Limits that end every wait soon."""
    return {"HEARTBEAT": "3", "PUBLISH_TIMEOUT": "2s", "TOPOLOGY_CHECK": "1s"}


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
    """What waits is processed and acked; what comes of it waits, and `/ready` says so."""
    await load.send(200, duplicates=20)
    await asyncio.to_thread(disk.fill, leave=LEFT)
    try:
        await eventually(lambda: alarmed(server))
        first, _ = [await fleet.start() for _ in range(2)]
        async with busy(load):
            waiting = set(load.acknowledged)
            await eventually(lambda: arrived(site, load), within=60)
            await eventually(lambda: _says(first, "publish for"))
            assert load.acknowledged == waiting
            assert await site.count("outbox") > 150
            assert await fleet.metric("broker_reconnects_total", role="consume") == 0
            await asyncio.to_thread(disk.free)
            await eventually(lambda: _over(server), within=NOTICED)
            began = time.monotonic()
            await eventually(lambda: _goes_on(fleet, load, waiting), within=SOON)
            record_property("seconds until all went on", round(time.monotonic() - began, 1))
    finally:
        await asyncio.to_thread(disk.free)
    await spent_nothing(fleet, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.fault("F58", "RabbitMQ has no room at all")
async def test_no_room(
    server: RabbitMQ,
    disk: SmallDisk,
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
    record_property: Callable[[str, object], None],
) -> None:
    """It confirms nothing that it cannot write. Its queues end: it has to be started again."""
    for _ in range(2):
        await fleet.start()
    async with busy(load):
        await eventually(lambda: site.count("sales"))
        await asyncio.to_thread(disk.fill)
        try:
            before = load.copies
            await eventually(lambda: load.copies > before + REPEATED, within=60)
        finally:
            await asyncio.to_thread(disk.free)
        # The queues do not come back by themselves, and connections look as if all was well.
        await eventually(lambda: told(fleet, 503, "restart the node"), within=60)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        began = time.monotonic()
        await eventually(readiness(fleet, 200), within=SOON)
        record_property("seconds until all went on", round(time.monotonic() - began, 1))
    await spent_nothing(fleet, site, load)
    (await settle()).check()


async def _says(member: Member, words: str) -> bool:
    """Whether it is ready, and says this all the same."""
    status, text = await member.answer("/ready")
    return status == 200 and words in text


async def _over(server: RabbitMQ) -> bool:
    return not await alarmed(server)


async def _goes_on(fleet: Fleet, load: Load, waiting: set[str]) -> bool:
    """Whether more sales than these are confirmed, and no relay pauses."""
    return load.acknowledged > waiting and not await fleet.metric("relay_paused")
