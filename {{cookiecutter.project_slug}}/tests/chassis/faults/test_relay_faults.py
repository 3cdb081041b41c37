"""F37 to F40: processes that publish from the outbox stop, die, are refused, and are not woken."""

import asyncio
import signal
import time
from collections import defaultdict
from functools import partial

import psutil
import pytest

from acme_orders.chassis.messaging.topology import Queue

from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import at_least
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import LISTENER, Site
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_BOOKED

PUBLISH = "acme_orders.chassis.rabbitmq.broker:RabbitBroker.publish"
UNHEARD = "sale.unheard"
KEYS = 3
POLL = 1.0  # seconds
OURS = f"FROM pg_stat_activity WHERE application_name = '{SERVICE.name}'"


@pytest.mark.long
@pytest.mark.fault("F37", "relay stopped past its lease, and resumed")
async def test_stopped_past_its_lease(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Another one takes over; the first publishes the same ids again, and forgets no row."""
    await fleet.start(only="consumer")
    await load.send(50)
    await eventually(lambda: _outbox(site, 50))
    late = await fleet.start(f"before:{PUBLISH}:stop@1", only="relay", ready=False)
    await eventually(lambda: _stopped(late))
    await fleet.start(only="relay")
    await eventually(lambda: _outbox(site, 0))
    assert _stopped(late)
    late.send_signal(signal.SIGCONT)
    await eventually(at_least(50, fleet, "outbox_leases_lost_total"))
    await eventually(lambda: _heard(site, 100))
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F37", "relays stopped in turn, under load")
async def test_stopped_in_turn(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Each for longer than its lease, whatever it is doing then."""
    await fleet.start(only="consumer")
    relays = [await fleet.start(only="relay") for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(load.send(400, rate=25))
        while not sending.done():
            for relay in relays:
                relay.send_signal(signal.SIGSTOP)
                await asyncio.sleep(3)  # RELAY_LEASE is 2 s
                relay.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.2)
    assert [relay.lives for relay in relays] == [1, 1]
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F38", "relays killed again and again, under load")
async def test_killed_under_load(load: Load, fleet: Fleet, settle: Settle) -> None:
    """Whatever they had in hand is published by the next."""
    await fleet.start(only="consumer")
    relays = [await fleet.start(only="relay", supervised=True) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(load.send(300, rate=20))
        while not sending.done():
            for relay in relays:
                await relay.ready()
                relay.send_signal(signal.SIGKILL)
                await relay.ended()
    for relay in relays:
        await relay.ready()
    assert min(relay.lives for relay in relays) > 2
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F39", "nobody listens to an event of one key")
async def test_one_event_is_parked(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """It holds back none of its key, and each key keeps its sale; so with two relays."""
    heard = Queue("heard", bindings=(SALE_BOOKED,))
    await _declare(site, heard)
    consumer = await fleet.start(only="consumer")
    await load.send(60)
    await eventually(lambda: _outbox(site, 60))
    await consumer.terminate()
    await site.rows(f"UPDATE outbox SET ordering_key = 'key ' || id % {KEYS}")
    lame = "(SELECT min(id) FROM outbox)"
    await site.rows(f"UPDATE outbox SET type = '{UNHEARD}' WHERE id = {lame}")
    ordered = await _by_key(site)
    ((late, held),) = await site.rows(
        f"SELECT ordering_key, message_id FROM outbox WHERE id = {lame}"
    )
    for _ in range(2):
        await fleet.start(only="relay")
    await eventually(lambda: _outbox(site, 1))
    await eventually(at_least(2, fleet, "outbox_publish_failures_total", type=UNHEARD))
    assert await _by_key(site) == {late: [str(held)]}
    for queue in (heard.name, LISTENER):
        await _bind(site, queue, UNHEARD)
    await eventually(lambda: _outbox(site, 0))
    place = {identity: key for key, identities in ordered.items() for identity in identities}
    found = defaultdict(list)
    for incoming in await site.taken(heard.name):
        found[place[str(incoming.message_id)]].append(str(incoming.message_id))
    ordered[late] = [*ordered[late][1:], str(held)]
    assert found == ordered
    (await settle()).check()


@pytest.mark.long
@pytest.mark.parametrize("sessions", ["kept", "ended"])
@pytest.mark.fault("F40", "events of another process: nobody wakes the relay")
async def test_not_woken(
    sessions: str, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """There is nothing to listen on, so nothing that can be cut: it looks, every RELAY_POLL."""
    await fleet.start(only="consumer")
    await fleet.start(only="relay", environment={"RELAY_POLL": f"{POLL}s"})
    longest = POLL * (2 if sessions == "ended" else 1) + 1  # the machine is busy
    for number in range(1, 6):
        await load.send(1)
        await eventually(partial(_sales, site, number))
        began = time.monotonic()
        if sessions == "ended":
            await site.rows(f"SELECT pg_terminate_backend(pid) {OURS}")
        await eventually(partial(_heard, site, number))
        assert time.monotonic() - began < longest
    (await settle()).check()


def _stopped(member: Member) -> bool:
    return psutil.Process(member.pid).status() == psutil.STATUS_STOPPED


async def _outbox(site: Site, number: int) -> bool:
    return await site.count("outbox") == number


async def _sales(site: Site, number: int) -> bool:
    return await site.count("sales") == number


async def _heard(site: Site, number: int) -> bool:
    async with site.channel() as channel:
        declared = await channel.declare_queue(LISTENER, passive=True)
        return declared.declaration_result.message_count == number


async def _declare(site: Site, queue: Queue) -> None:
    async with site.channel() as channel:
        await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    for type_ in queue.bindings:
        await _bind(site, queue.name, type_)


async def _bind(site: Site, queue: str, type_: str) -> None:
    async with site.channel() as channel:
        bound = await channel.get_queue(queue, ensure=False)
        await bound.bind(site.topology.exchange, type_)


async def _by_key(site: Site) -> dict[str, list[str]]:
    found = defaultdict(list)
    rows = await site.rows("SELECT ordering_key, message_id FROM outbox ORDER BY id")
    for key, identity in rows:
        found[key].append(str(identity))
    return found
