"""F31, F32 and F49: messages of which nobody can say what should become of them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.chassis.conftest import eventually, sold
from tests.chassis.faults.conditions import arrived
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load, Sent
from tests.chassis.faults.site import Site


@pytest.mark.long
@pytest.mark.fault("F31", "one id for two messages")
async def test_same_id(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """The first has its effect, the second is a dead letter with its own body."""
    await fleet.start()
    sales = await load.send(10)
    await eventually(lambda: arrived(site, load))
    for sent in sales:
        await load.publish(load.changed(sent, sent.message.body + b" "))
    await eventually(lambda: _reasons(site, "payload_mismatch", 10))
    # Somebody has looked at them; what is left of each id is the first message and its effect.
    await site.rows("DELETE FROM dead_letters")
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F32", "messages older than what the inbox remembers")
async def test_stale(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """Nobody knows whether they were processed: they are dead letters, and no effects."""
    await fleet.start()
    for days in (13, 15, 400):
        await load.publish(_sent_before(timedelta(days=days), stale=days > 14))
    await eventually(lambda: _reasons(site, "beyond_dedup_window", 2))
    (await settle()).check()


@pytest.mark.parametrize("fate", ["cancel", pytest.param("exit", marks=pytest.mark.long)])
@pytest.mark.fault("F49", "a cancellation or an exit that nobody asked for")
async def test_interrupted_handlers(
    fate: str, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """Two for each worker: they are dead letters, the good ones are done, and a drain is quick."""
    member = await fleet.start()
    await load.send(8, fate=fate, expected="dead letter")
    await load.send(50)
    for table, number in (("sales", 50), ("dead_letters", 8)):
        await eventually(lambda: _has(site, table, number))  # noqa: B023
    assert await member.status("/ready") == 200
    (await settle()).check()
    assert member.lives == 1
    (stopped,) = member.records("service.stopped")
    assert stopped["seconds"] < 5


def _sent_before(age: timedelta, *, stale: bool) -> Sent:
    message = sold()
    time = (datetime.now(UTC) - age).isoformat()
    message = replace(message, headers={**message.headers, "cloudEvents:time": time})
    sale = json.loads(message.body)["sale_id"]
    return Sent(message.message_id or "", sale, "dead letter" if stale else "effect", message)


async def _has(site: Site, table: str, number: int) -> bool:
    return await site.count(table) == number


async def _reasons(site: Site, reason: str, number: int) -> bool:
    ((found,),) = await site.rows(f"SELECT count(*) FROM dead_letters WHERE reason = '{reason}'")
    return int(found) == number
