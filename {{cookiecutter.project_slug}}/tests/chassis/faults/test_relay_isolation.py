"""F50 to F52: relays that cannot use their table, and relays that die while they park or set aside.

Every process is real, and each event is published, parked or set aside in the end.
"""

import asyncio
import time
from collections import Counter

import pytest

from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import at_least
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import LISTENER, Site
from tests.chassis.slices.sales.messages import SALE_BOOKED

SECONDS = 8.0  # that the cause lasts
RECOVERY = 5.0  # seconds until all is out when it is gone
SERVICE_ROLE = "acme_orders_service"
ROLES = [SERVICE_ROLE]
ROLES.append("acme_orders_system")  # feature: rls
CAUSES = {
    "outbox renamed": (
        "ALTER TABLE outbox RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO outbox",
    ),
    "parked_types renamed": (
        "ALTER TABLE parked_types RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO parked_types",
    ),
    "rights revoked": (
        f"REVOKE ALL ON outbox FROM {', '.join(ROLES)}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO {', '.join(ROLES)}",
    ),
    "a column renamed": (
        "ALTER TABLE outbox RENAME COLUMN lease TO hold",
        "ALTER TABLE outbox RENAME COLUMN hold TO lease",
    ),
}
MODULE = "acme_orders.chassis.messaging"
PARKING = {
    "park": f"{MODULE}.parked_types:ParkedTypes.park",
    "probe": f"{MODULE}.parked_types:ParkedTypes.probe",
    "release": f"{MODULE}.parked_types:ParkedTypes.release",
    "forget": f"{MODULE}.settlement:Settlement.forget",
}
ASIDE = f"{MODULE}.set_aside:SetAside.set_aside"
POISON = "UPDATE outbox SET type = repeat('t', 300) WHERE id % 10 = 0"


@pytest.mark.long
@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.fault("F50", "the table of a relay cannot be used for a while")
async def test_without_its_table(
    cause: str, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """The relay stays, says so in a few lines, and all is out soon after."""
    broken, mended = CAUSES[cause]
    relays = [await fleet.start(only="relay") for _ in range(2)]
    consumer = await fleet.start(only="consumer")
    await load.send(50)
    await eventually(lambda: _outbox(site, 0))
    for relay in relays:
        await eventually(at_least(0, fleet, "outbox_pending"))
        assert relay.running
    await consumer.terminate()
    await site.rows(broken)
    await eventually(at_least(2, fleet, "relay_paused", part="publish"))
    await asyncio.sleep(SECONDS)  # so long it lasts
    await site.rows(mended)
    await fleet.start(only="consumer")
    await load.send(50)
    await eventually(at_least(100, fleet, "outbox_published_total"), within=30)
    mended_at = time.monotonic()
    await eventually(lambda: _outbox(site, 0), within=RECOVERY)
    assert time.monotonic() - mended_at < RECOVERY
    for relay in relays:
        assert (relay.running, relay.lives) == (True, 1)
        assert len(relay.records("relay.paused")) < 30
        assert relay.records("relay.resumed")
    (await settle()).check()


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", PARKING)
@pytest.mark.fault("F51", "relays killed while they park a type, try it, and let it go")
async def test_killed_while_parking(
    when: str, point: str, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """Whatever was half done is done by the next; nobody waits for ever."""
    await _bind(site, bound=False)
    consumer = await fleet.start(only="consumer")
    await load.send(300)
    await eventually(lambda: _outbox(site, 300))
    await consumer.terminate()
    deadly = f"{when}:{PARKING[point]}:kill@1"
    relays = [
        await fleet.start(deadly, only="relay", supervised=True, ready=False) for _ in range(2)
    ]
    if point != "release":
        await _killed(relays)
    await eventually(lambda: _parked(site, 300))
    await _bind(site, bound=True)
    await _killed(relays)
    await eventually(lambda: _outbox(site, 0))
    assert await site.count("parked_types") == 0
    (await settle()).check()


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.fault("F52", "relays killed while they set poison aside")
async def test_killed_while_setting_aside(when: str, site: Site, load: Load, fleet: Fleet) -> None:
    """Each event is in one place: published, or a dead letter."""
    consumer = await fleet.start(only="consumer")
    await load.send(300)
    await eventually(lambda: _outbox(site, 300))
    await consumer.terminate()
    await site.rows(POISON)
    (poison,) = zip(
        *await site.rows("SELECT message_id::text FROM outbox WHERE id % 10 = 0"), strict=True
    )
    (good,) = zip(
        *await site.rows("SELECT message_id::text FROM outbox WHERE id % 10 > 0"), strict=True
    )
    relays = [
        await fleet.start(f"{when}:{ASIDE}:kill@1", only="relay", supervised=True, ready=False)
        for _ in range(2)
    ]
    await _killed(relays)
    await eventually(lambda: _outbox(site, 0))
    kept = await site.rows("SELECT message_id FROM dead_letters WHERE outgoing")
    assert Counter(message_id for (message_id,) in kept) == Counter(poison)
    found = {str(incoming.message_id) for incoming in await site.taken(LISTENER)}
    assert found == set(good)


async def _killed(relays: list[Member]) -> None:
    """One at least was, and all are at work (again)."""
    await eventually(lambda: any(relay.lives > 1 for relay in relays))
    for relay in relays:
        await relay.ready(within=60)


async def _outbox(site: Site, number: int) -> bool:
    return await site.count("outbox") == number


async def _parked(site: Site, number: int) -> bool:
    return await site.count("outbox WHERE available_at = 'infinity'") == number


async def _bind(site: Site, *, bound: bool) -> None:
    async with site.channel() as channel:
        queue = await channel.get_queue(LISTENER, ensure=False)
        change = queue.bind if bound else queue.unbind
        await change(site.topology.exchange, SALE_BOOKED)
