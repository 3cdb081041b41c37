"""F11, F13, F14, F18 and F20: a RabbitMQ of these tests alone stops, dies, or takes no more."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from dev.rabbitmq import RabbitMQ
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import arrived, at_least, published, readiness, spent_nothing
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.management import Management
from tests.chassis.faults.site import Site

# Command, a value that is too much, and one that is not.
ALARMS = {
    "memory": ("set_vm_memory_high_watermark", "0.000001", "0.4"),
    "disk": ("set_disk_free_limit", "1000000GB", "10MB"),
}


@dataclass(frozen=True)
class Alarm:
    """Makes a server short of something."""

    server: RabbitMQ
    command: str
    too_much: str
    enough: str

    async def ring(self) -> None:
        """Return when the server has noticed."""
        await asyncio.to_thread(self.server.ctl, self.command, self.too_much)
        await eventually(self._rings)

    async def clear(self) -> None:
        """Set it right."""
        await asyncio.to_thread(self.server.ctl, self.command, self.enough)

    async def _rings(self) -> bool:
        asked = ("eval", "rabbit_alarm:get_alarms().")
        return "resource_limit" in await asyncio.to_thread(self.server.ctl, *asked)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    """A node of this module alone, which may be killed."""
    with RabbitMQ() as running:
        yield running


@pytest.fixture
def management_url(server: RabbitMQ) -> str:
    """Of this node."""
    return server.management_url


@pytest.fixture
def broker_url(server: RabbitMQ) -> Iterator[str]:
    """A virtual host on this node, so that all fixtures use it."""
    url = server.create_virtual_host()
    yield url
    server.drop_virtual_host(url)


@pytest.fixture
def environment() -> dict[str, str]:
    """Limits that end every wait soon; a silent broker is noticed within 12 s."""
    return {"HEARTBEAT": "3", "PUBLISH_TIMEOUT": "2s"}


@pytest.fixture
async def pair(fleet: Fleet) -> Fleet:
    """Two processes at work."""
    await asyncio.gather(fleet.start(), fleet.start())
    return fleet


@asynccontextmanager
async def loaded(site: Site, load: Load, *, count: int = 200) -> AsyncIterator[None]:
    """The block runs while messages are sent and processed."""
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(count, duplicates=count // 10, rate=50))
        await eventually(lambda: site.count("sales"))
        yield


@pytest.mark.fault("F13", "RabbitMQ is stopped and started")
async def test_stopped(
    server: RabbitMQ, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Processes wait for it, and the outbox catches up."""
    async with loaded(site, load):
        await asyncio.to_thread(server.ctl, "stop_app")
        try:
            await eventually(readiness(pair, 503))
        finally:
            await asyncio.to_thread(server.ctl, "start_app")
    await eventually(readiness(pair, 200))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F13", "RabbitMQ is killed and comes back")
async def test_killed(
    server: RabbitMQ, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """What it confirmed is there again."""
    await eventually(server.queues_written)
    async with loaded(site, load):
        await asyncio.to_thread(server.kill)
        try:
            await eventually(readiness(pair, 503))
        finally:
            await asyncio.to_thread(server.start)
    await eventually(readiness(pair, 200))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [20, 45])
@pytest.mark.fault("F14", "RabbitMQ stands still")
async def test_frozen(
    seconds: float, server: RabbitMQ, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """Nothing is closed; the heartbeat notices, and readiness says so, until it goes on."""
    async with loaded(site, load):
        await asyncio.to_thread(server.pause)
        began = time.monotonic()
        try:
            await eventually(readiness(pair, 503))
            assert time.monotonic() - began < 3 * (3 + 1) + 5  # 5 s for a busy machine
            await asyncio.sleep(seconds - (time.monotonic() - began))  # so long it is frozen
            assert await readiness(pair, 503)()
        finally:
            await asyncio.to_thread(server.resume)
    await eventually(readiness(pair, 200))
    await spent_nothing(pair, site, load)
    (await settle()).check()


@pytest.fixture
async def impatient(server: RabbitMQ) -> AsyncIterator[None]:
    """RabbitMQ waits 3 s for an ack, and then closes the channel."""
    await asyncio.to_thread(_set, server, "consumer_timeout", 3000)
    yield
    await asyncio.to_thread(_set, server, "consumer_timeout", 30 * 60 * 1000)


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
@pytest.mark.fault("F11", "handlers slower than RabbitMQ waits for acks")
async def test_late_acks(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """It takes the messages away meanwhile; each has its effect once."""
    member = await fleet.start(environment={"BATCH_SIZE": "1", "CONCURRENCY": "8"})
    await load.send(4, fate="slow-6")
    await load.send(60, rate=15)
    await eventually(lambda: arrived(site, load))
    assert await fleet.metric("messages_returned_total") >= 4
    assert await fleet.metric("acks_lost_total") >= 4
    assert member.records("subscription.restored")
    # The copies came while the handlers were at work, and waited for them.
    assert await fleet.metric("handler_duration_seconds_count") == 64
    (await settle()).check()


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
@pytest.mark.fault("F11", "slow handlers are ended before RabbitMQ loses patience")
async def test_early_timeout(load: Load, fleet: Fleet, settle: Settle) -> None:
    """As with the settings of production: a failure of this message, and its channel stays."""
    limits = {
        "HANDLER_TIMEOUT": "1s",
        "ACQUIRE_TIMEOUT": "900ms",
        "STATEMENT_TIMEOUT": "900ms",
        "SLOW_STATEMENT": "800ms",
        "LOCK_TIMEOUT": "800ms",
    }
    limits |= {"BATCH_SIZE": "1"}
    member = await fleet.start(environment=limits)
    await load.send(3, fate="slow-6", expected="dead letter")
    await load.send(60, rate=15)
    await eventually(at_least(3, fleet, "dead_letters_total"))
    assert await fleet.metric("messages_returned_total") == 0
    assert not member.records("subscription.restored")
    (await settle()).check()


@pytest.fixture(params=ALARMS)
async def alarm(request: pytest.FixtureRequest, server: RabbitMQ) -> AsyncIterator[Alarm]:
    """RabbitMQ can be short of memory or disk; afterwards it is not any more."""
    found = Alarm(server, *ALARMS[request.param])
    yield found
    await found.clear()


@pytest.mark.long
@pytest.mark.fault("F18", "RabbitMQ is short of memory or disk")
async def test_alarm(
    alarm: Alarm, server: RabbitMQ, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """What waits is processed and acked; its events wait in the outbox until the alarm is over."""
    await load.send(200)
    await alarm.ring()
    member = await fleet.start()
    await eventually(lambda: arrived(site, load))
    await eventually(at_least(1, fleet, "outbox_publish_failures_total"))
    await eventually(lambda: _acked(server, site))
    # A publish or two get through before RabbitMQ sees that this connection publishes.
    assert await site.count("outbox") > 150
    assert await site.rows("SELECT max(attempts) FROM outbox") == [(0,)]
    assert await member.metric("broker_reconnects_total", role="consume") == 0
    await alarm.clear()
    await eventually(lambda: published(site), within=60)
    await spent_nothing(fleet, site, load)
    (await settle()).check()


@pytest.fixture
async def persistent(server: RabbitMQ) -> AsyncIterator[None]:
    """Of what a queue refused when another passed it on, RabbitMQ thinks again after 2 s."""
    name = "dead_letter_worker_publisher_confirm_timeout"
    await asyncio.to_thread(_set, server, name, 2000)
    yield
    await asyncio.to_thread(_set, server, name, 3 * 60 * 1000)


@pytest.mark.long
@pytest.mark.usefixtures("persistent")
@pytest.mark.fault("F20", "our own queue is full")
async def test_a_full_queue(
    server: RabbitMQ, broker_url: str, fleet: Fleet, load: Load, settle: Settle
) -> None:
    """Producers are told so; what waits for its next attempt is kept until there is room."""
    management = Management(broker_url, server.management_url)
    await management.limit_queue(fleet.site.topology.main.name, 10)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(150))
        group.create_task(load.send(50, fate="fail-1"))
        await eventually(lambda: load.copies > 100)
        # With a copy of one that fails it can be more than half, and we would pause for a minute.
        await fleet.start(environment={"FAILURE_RATE": "1"})
    (await settle()).check()


def _set(server: RabbitMQ, name: str, milliseconds: int) -> None:
    server.ctl("eval", f"application:set_env(rabbit, {name}, {milliseconds}).")


async def _acked(server: RabbitMQ, site: Site) -> bool:
    host = urlsplit(site.broker_url).path[1:]
    asked = ("list_queues", "--vhost", host, "--no-table-headers", "name", "messages")
    lines = (await asyncio.to_thread(server.ctl, *asked)).splitlines()
    return [site.topology.main.name, "0"] in [line.split() for line in lines]
