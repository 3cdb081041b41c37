"""F60: PgBouncer stands between the service and PostgreSQL, and dies under load."""

import asyncio
from collections.abc import Iterator

import pytest

from dev.pgbouncer import PgBouncer
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import at_least, published, spent_nothing
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site
from tests.chassis.integration.conftest import login
from tests.chassis.integration.test_pgbouncer import MODES, altered, as_login, bouncing

__all__ = ["login"]
PATIENCE = 120.0  # seconds; the machine has other things to do


@pytest.fixture(params=MODES)
def bouncer(
    request: pytest.FixtureRequest,
    database_url: str,
    login: str,
) -> Iterator[PgBouncer]:
    """Before the database of this test."""
    with bouncing(database_url, request.param, login=login, size=40) as running:
        yield running


@pytest.fixture
async def pooled(
    bouncer: PgBouncer,
    database_url: str,
    login: str,
) -> dict[str, str]:
    """What a process is told, so that it works through it."""
    url = as_login(bouncer.url(database_url), login)
    if bouncer.mode == "transaction":
        await altered(database_url, url, login)
        bouncer.kill()  # its sessions are as they were
        bouncer.start()
    return {"DATABASE_URL": url, "DATABASE_SESSION_URL": as_login(database_url, login)}


@pytest.mark.long
@pytest.mark.fault("F60", "PgBouncer is killed under load")
async def test_pgbouncer_is_killed(
    bouncer: PgBouncer,
    pooled: dict[str, str],
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
) -> None:
    """Everything arrives once, and it costs no message an attempt."""
    limits = {"CONNECT_TIMEOUT": "2s", "ACQUIRE_TIMEOUT": "2s", **pooled}
    for _ in range(2):
        await fleet.start(environment=limits, ready=False)
    for member in fleet.members:
        await member.ready(within=PATIENCE)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(200, duplicates=20, rate=30))
        await eventually(lambda: site.count("sales"), within=PATIENCE)
        for _ in range(2):
            await asyncio.to_thread(bouncer.kill)
            await eventually(at_least(1, fleet, "consumer_paused"), within=PATIENCE)
            await asyncio.to_thread(bouncer.start)
            await eventually(lambda: _nobody_waits(fleet), within=PATIENCE)
    await eventually(lambda: published(site), within=PATIENCE)
    await spent_nothing(fleet, site, load)
    (await settle()).check()


async def _nobody_waits(fleet: Fleet) -> bool:
    return await fleet.metric("consumer_paused") == 0
