"""F26: the primary dies, its standby answers but accepts no writes, and then takes over."""

import asyncio
from collections.abc import Iterator

import pytest

from dev.standby import PostgresPair
from tests.conftest import eventually
from tests.faults.conftest import Settle, migrate
from tests.faults.fleet import Fleet
from tests.faults.load import Load
from tests.faults.site import Site


@pytest.fixture
def servers() -> Iterator[PostgresPair]:
    """Two servers of this test alone: one of them is not to be started again."""
    with PostgresPair() as running:
        yield running


@pytest.fixture
def database_url(servers: PostgresPair) -> str:
    """A migrated database on both."""
    url = servers.databases.create()
    migrate(url)
    return url


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
        await eventually(lambda: site.count("orders"))
        await asyncio.to_thread(servers.primary.kill)
        await eventually(lambda: member.metric("consumer_paused"))
        await asyncio.sleep(3)  # so long the standby can only be read
        await asyncio.to_thread(servers.promote)
    await eventually(lambda: _arrived(site, load), within=60)
    told = {record["why"] for record in member.records("consumer.paused")}
    assert any("recovery" in why or "read-only" in why for why in told), told
    assert await member.metric("message_retries_total") == 0
    assert await member.metric("dead_letters_total") == 0
    (await settle()).check()


async def _arrived(site: Site, load: Load) -> bool:
    entered = {identity for (identity,) in await site.rows("SELECT id FROM inbox")}
    return load.acknowledged <= entered
