"""F7 and F42 to F44: what one message, a clock or a command can do to a process."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tests.chassis.conftest import PROJECT, eventually, sold
from tests.chassis.faults.conditions import arrived, at_least
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load, Sent
from tests.chassis.faults.site import Site

CLAIM = "acme_orders.chassis.messaging.inbox:Inbox.claim"
ADD = "tests.chassis.slices.sales.repository:Sales.add_all"
SETTLE = "acme_orders.chassis.dead_letters.archiver:Archiver._settle"
DECIDE = "acme_orders.chassis.dead_letters.store:DeadLetters.decide"
REPLAYED = "SELECT count(*) FROM dead_letters WHERE state = 'replayed'"
pytestmark = pytest.mark.timeout(900)  # a process that dies six times starts seven times
INNOCENTS = 20  # all in the hands of the process that dies: PREFETCH is twice BATCH_SIZE


async def among_innocents(load: Load, fate: str, number: int) -> list[Sent]:
    """Messages with a bad fate, in the middle of others; all wait before any process is there."""
    await load.send(INNOCENTS // 2)
    bad = await load.send(number, fate=fate, expected="dead letter")
    await load.send(INNOCENTS // 2)
    return bad


@pytest.mark.parametrize(
    ("killers", "processes"),
    [
        (1, 1),
        pytest.param(2, 1, marks=pytest.mark.long),
        pytest.param(1, 2, marks=pytest.mark.long),
    ],
)
@pytest.mark.fault("F7", "a message that kills its process")
async def test_a_killer_among_innocents(
    killers: int, processes: int, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """At most six deaths for one; then it is a dead letter, and no other message is."""
    bad = await among_innocents(load, "kill", killers)
    await asyncio.gather(
        *(fleet.start(supervised=True, ready=False) for _ in range(processes)),
    )
    await eventually(lambda: _archived(site, killers), within=400)
    if killers == 1:  # of two, a copy of one may kill on when both are archived
        await asyncio.gather(*(member.ready() for member in fleet.members))
        archived = {"reason": "delivery_limit"}  # it is counted after it can be seen
        await eventually(at_least(1, fleet, "dead_letters_archived_total", **archived))
    (await settle()).check()
    ends = Counter(status for member in fleet.members for status in member.statuses)
    assert ends.keys() == {0, -signal.SIGKILL}
    # Three deaths in the main queue, three of each suspect. Each of the first one's three can come
    # while the other is set apart, and leave one copy more of it.
    assert 3 <= ends[-signal.SIGKILL] <= (6 if killers == 1 else 18)
    told = await site.rows("SELECT message_id, reason, queue FROM dead_letters")
    expected = [(each.id, "delivery_limit", site.topology.suspects.name) for each in bad]
    assert sorted(told) == sorted(expected)


@pytest.mark.long
@pytest.mark.fault("F8", "a message that takes all memory")
async def test_out_of_memory(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Whether the process survives it or not: it ends as a dead letter, and no other does."""
    (bad,) = await among_innocents(load, "oom", 1)
    await fleet.start(supervised=True, ready=False)
    await eventually(lambda: _archived(site, 1), within=400)
    await fleet.members[0].ready()
    (await settle()).check()
    ((dead, reason),) = await site.rows("SELECT message_id, reason FROM dead_letters")
    assert dead == bad.id
    assert reason in {"retries_exhausted", "delivery_limit"}
    assert b"MemoryError" in fleet.members[0].log.read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.long
@pytest.mark.fault("F42", "the event loop stands still")
async def test_a_blocked_event_loop(
    processes: int, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """No heartbeat, so the connection is lost; what is delivered again is no second effect."""
    quick = {"HEARTBEAT": "1", "LOOP_LAG_LIMIT": "1s"}
    await load.send(1, fate="block-10")
    await load.send(INNOCENTS)
    await asyncio.gather(*(fleet.start(environment=quick) for _ in range(processes)))
    await eventually(lambda: arrived(site, load), within=400)
    await eventually(at_least(1, fleet, "messages_processed_total", outcome="duplicate"))
    assert all(member.running for member in fleet.members)
    late = [each for member in fleet.members for each in member.records("event_loop.blocked")]
    # The function that blocks; on a busy machine another one may be late as well.
    assert len([each for each in late if "in act\n" in each["stack"]]) == 1
    # The other process may have had all of it again before this one is back.
    await eventually(at_least(1, fleet, "broker_reconnects_total"))
    assert await fleet.metric("dead_letters_total") == 0
    (await settle()).check()


@pytest.mark.parametrize("seconds", [-3600, 3600, 20 * 86400])
@pytest.mark.long
@pytest.mark.fault("F43", "the clock jumps")
async def test_a_clock_that_jumps(seconds: int, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Leases and the window of the inbox follow PostgreSQL: nothing is lost, late or too old."""
    jumping = f"after:{CLAIM}:clock={seconds}@3"
    there, back = await asyncio.gather(
        fleet.start(jumping), fleet.start(jumping, f"after:{CLAIM}:clock={-seconds}@12")
    )
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(150):
            group.create_task(load.publish(timed()))
            await asyncio.sleep(0.02)
        group.create_task(load.send(50, fate="fail-1"))
    (await settle()).check()
    assert time.monotonic() - began < 40
    # It did jump: there to the end, and back again in the other one.
    for member, offset in ((there, seconds), (back, 0)):
        (stopped,) = member.records("service.stopped")
        ahead = datetime.fromisoformat(stopped["timestamp"]) - datetime.now(UTC)
        assert abs(ahead.total_seconds() - offset) < 60


def timed() -> Sent:
    """A sale that says when it was sent."""
    sale = str(uuid4())
    message = sold(sale_id=sale)
    headers = {**message.headers, "cloudEvents:time": datetime.now(UTC).isoformat()}
    identity = str(message.message_id)
    return Sent(identity, sale, "effect", replace(message, headers=headers))


@pytest.mark.long
@pytest.mark.fault("F44", "archiver killed, dead letters replayed again and again")
async def test_replays(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """One row for each, however often it is delivered; one effect, however often it is sent."""
    await load.send(60)
    refusing = f"before:{ADD}:raise=Refused"
    killed = await fleet.start(refusing, f"before:{SETTLE}:kill@2", only="consumer", ready=False)
    assert await killed.ended() == -signal.SIGKILL
    assert await site.count("dead_letters")
    refusing_still = await fleet.start(refusing, only="consumer")
    await eventually(lambda: _archived(site, 60))
    await eventually(lambda: _none_waits(site))
    assert (await refusing_still.terminate())[0] == 0
    assert await site.count("dead_letters") == 60

    assert await replay(site, f"before:{DECIDE}:kill@10") == -signal.SIGKILL
    assert (await site.waiting())[site.topology.main.name] == 10
    assert await site.rows(REPLAYED) == [(9,)]
    assert {*await asyncio.gather(replay(site), replay(site))} == {0}
    assert await replay(site) == 0
    assert await site.rows(REPLAYED) == [(60,)]
    # The one whose replay was killed was sent a second time, and no other.
    assert (await site.waiting())[site.topology.main.name] == 61

    await fleet.start()
    await eventually(at_least(1, fleet, "messages_processed_total", outcome="duplicate"))
    (await settle()).check()
    assert await site.count("dead_letters") == 60


async def replay(site: Site, *failpoints: str) -> int:
    """Replay all dead letters from the command line; its exit status."""
    command = ("dead-letters", "replay", "--all", "--rate", "1000")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chassis.faults.child", *failpoints, "--", *command),
        cwd=PROJECT,
        env={**os.environ, **site.environment},
    )
    return await process.wait()


async def _archived(site: Site, number: int) -> bool:
    return await site.count("dead_letters") >= number


async def _none_waits(site: Site) -> bool:
    return not (await site.waiting()).get(site.topology.dead_letters.name)
