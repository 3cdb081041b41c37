"""F26, F48: the primary dies under load, and the service finds its successor by itself."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from dev.standby import PostgresPair
from tests.chassis.acceptance.test_command_line import run
from tests.chassis.conftest import eventually, migrate
from tests.chassis.faults.conditions import arrived, at_least
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site

COMMANDS = ("migrate status", "migrate up", "doctor")


@pytest.fixture
def servers() -> Iterator[PostgresPair]:
    """Two servers of this test alone: the primary is not to be started again."""
    with PostgresPair() as running:
        yield running


@pytest.fixture
def database_url(servers: PostgresPair) -> str:
    """A migrated database on both; its URL names them, and asks for the primary."""
    url = servers.databases.create()
    migrate(url)
    return url


@pytest.mark.long
@pytest.mark.fault("F48", "the standby is promoted under load")
async def test_the_standby_is_promoted(
    servers: PostgresPair, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """All that was committed is there, no attempt is spent, and new processes find it, too."""
    limits = {"CONNECT_TIMEOUT": "2s", "ACQUIRE_TIMEOUT": "2s"}
    pair = [await fleet.start(environment=limits) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(300, duplicates=30, rate=30))
        await eventually(lambda: site.count("sales"))
        await asyncio.to_thread(servers.primary.kill)
        await eventually(at_least(1, fleet, "consumer_paused"))
        await asyncio.to_thread(servers.promote)
    await eventually(lambda: arrived(site, load), within=60)
    assert await fleet.metric("message_retries_total") == 0
    assert await fleet.metric("dead_letters_total") == 0
    assert [member.lives for member in pair] == [1, 1]
    for command in COMMANDS:
        ended = await asyncio.to_thread(run, *command.split(), **dict(site.environment))
        assert ended.returncode == 0, ended.stdout + ended.stderr
    await fleet.start(environment=limits)
    await load.send(50)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F26", "failover: read-only, then a new primary")
async def test_failover(
    servers: PostgresPair, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """A server that only reads is an outage; all that was committed is on the new primary."""
    # Whoever answers: so the processes come upon the standby while it refuses to write.
    anyone = site.database_url.partition("?")[0]
    member = await fleet.start(environment={"DATABASE_URL": anyone, "CONNECT_TIMEOUT": "1s"})
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(200, rate=40))
        await eventually(lambda: site.count("sales"))
        await asyncio.to_thread(servers.primary.kill)
        await eventually(lambda: member.metric("consumer_paused"))
        # Only once it is known that the standby can be read, and not written.
        await eventually(lambda: _told(member, "recovery", "read-only"))
        await asyncio.to_thread(servers.promote)
    await eventually(lambda: arrived(site, load), within=60)
    assert len(member.records("consumer.paused")) == len(member.records("consumer.resumed"))
    assert await member.metric("message_retries_total") == 0
    assert await member.metric("dead_letters_total") == 0
    (await settle()).check()


async def _told(member: Member, *words: str) -> bool:
    """Whether `/ready` says why the consumer waits, in one of these words."""
    _, text = await member.answer("/ready")
    return any(word in json.loads(text).get("consumer", "") for word in words)
