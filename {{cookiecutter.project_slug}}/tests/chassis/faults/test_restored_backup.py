"""F55: PostgreSQL comes back from a backup, and RabbitMQ knows nothing of it."""

import asyncio
import os

import pytest

from dev.databases import Databases
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import arrived, at_least, published
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site


@pytest.mark.fault("F55", "an older backup of PostgreSQL is restored")
async def test_an_older_backup(site: Site, load: Load, fleet: Fleet) -> None:
    """What was committed since is gone, until its producers send all of it again."""
    databases, name = Databases(os.environ["DATABASE_URL"]), site.database_url.rpartition("/")[2]
    kept = await _worked(site, load, fleet, 30)
    backup = await asyncio.to_thread(databases.create, template=site.database_url)
    try:
        lost = await _worked(site, load, fleet, 30)
        await asyncio.to_thread(databases.drop, site.database_url)
        await asyncio.to_thread(databases.create, name, template=backup)
    finally:
        await asyncio.to_thread(databases.drop, backup)

    member = await fleet.start()
    assert await _sales(site) == kept
    for sent in list(load.attempted.values()):
        assert await load.publish(sent)
    await eventually(lambda: arrived(site, load))
    await eventually(lambda: published(site))
    assert await _sales(site) == kept | lost
    duplicates = "messages_processed_total", {"outcome": "duplicate"}
    await eventually(at_least(len(kept), fleet, duplicates[0], **duplicates[1]))
    assert await member.metric(duplicates[0], **duplicates[1]) == len(kept)
    announced = await site.announced()
    assert {sale: len(set(ids)) for sale, ids in announced.items()} == {
        **dict.fromkeys(kept, 1),
        **dict.fromkeys(lost, 2),  # under new ids: nothing here remembers the old ones
    }


async def _worked(site: Site, load: Load, fleet: Fleet, sales: int) -> set[str]:
    """A process takes so many new sales, publishes their events, and ends."""
    member = await fleet.start()
    sent = await load.send(sales)
    await eventually(lambda: arrived(site, load))
    await eventually(lambda: published(site))
    assert (await member.terminate())[0] == 0
    return {each.sale for each in sent}


async def _sales(site: Site) -> set[str]:
    return {str(sale) for (sale,) in await site.rows("SELECT id FROM sales")}
