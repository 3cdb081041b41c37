"""F33: whatever a broker can deliver; all of it is accounted for, and the service does not notice.

A count of an account that does not add up, or another seed: `FAULT_SEED=7 … -k fuzz`.
"""

import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chassis.conftest import eventually
from tests.chassis.faults.conftest import SEED
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.garbage import Delivery, deliveries
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site
from tests.chassis.faults.wire import wire
from tests.chassis.slices.sales.messages import SALE_MADE

OUTCOMES = ("done", "duplicate", "dead_lettered")
CALM = ("broker_reconnects_total", "consumer_stalls_total", "acks_lost_total", "suspects_total",
        "messages_returned_total")  # fmt: skip
MOST_GROWTH = 32 << 20  # bytes; the SQL of each size of a batch is kept once it was needed


@pytest.mark.fault("F33", "garbage of all kinds")
@pytest.mark.parametrize(
    "number",
    [1500, pytest.param(100_000, marks=(pytest.mark.long, pytest.mark.timeout(1800)))],
)
async def test_garbage(
    number: int,
    site: Site,
    fleet: Fleet,
    load: Load,
) -> None:
    """One process sees all of it through, and then a good message at once."""
    member = await fleet.start(environment={"BATCH_SIZE": "100", "CONCURRENCY": "8"})
    port = member.records("service.ready")[-1]["port"]
    began, memory = time.monotonic(), asyncio.create_task(_memory(member, port, number))
    sent = list(deliveries(number, seed=SEED))
    await _publish(site, sent)
    published = time.monotonic() - began
    early, late = await memory
    took = time.monotonic() - began
    outcomes = await asyncio.to_thread(_outcomes, port)
    await eventually(lambda: _empty(site))
    # The same bad message once more is the same dead letter, in one row.
    repeated = Counter((each.content, each.body) for each in sent if each.end != "effect")
    again = sum(times - 1 for times in repeated.values())
    with suppress(TimeoutError):  # a queue is empty when the archiver has taken what was in it
        await eventually(lambda: _archived(site, outcomes["dead_lettered"] - again))
    reasons = dict(await site.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    kinds = Counter(each.kind for each in sent)
    sys.stdout.write(
        f"\nseed {SEED}: {number} sent in {published:.0f} s, settled after {took:.0f} s: "
        f"{dict(outcomes)}\ndead letters: {reasons}\nkinds: {dict(kinds)}\n"
        f"memory: {early >> 20} MiB after a fifth, {late >> 20} MiB at the end\n"
    )
    assert sum(outcomes.values()) == number
    assert await site.count("inbox") == outcomes["done"]
    assert 0 <= outcomes["dead_lettered"] - sum(reasons.values()) <= again
    await _check_ends(site, sent)
    (good,) = await load.send(1)
    await eventually(lambda: _stored(site, good.sale), within=10)
    assert {each: await member.metric(each) for each in CALM} == dict.fromkeys(CALM, 0)
    assert late - early < MOST_GROWTH
    assert [status for status, _ in await fleet.terminate()] == [0]


async def _publish(site: Site, sent: list[Delivery]) -> None:
    async with wire(site.broker_url) as client:
        for each in sent:
            await client.publish(each.content, each.body, exchange="events", routing_key=SALE_MADE)
        await client.confirmed()
        assert client.returned == 0


async def _memory(member: Member, port: int, number: int) -> tuple[int, int]:
    """Resident bytes of the process after a fifth of its messages, and when all are settled."""
    process, early, settled = psutil.Process(member.pid), 0, 0
    while settled < number:
        await asyncio.sleep(0.5)
        assert member.lives == 1, "the process died"
        settled = sum((await asyncio.to_thread(_outcomes, port)).values())
        if not early and settled >= number / 5:
            early = process.memory_info().rss
    return early, process.memory_info().rss


def _outcomes(port: int) -> Counter[str]:
    """How many messages ended how; a member's own `metric` reads all of its log each time."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "messages_processed_total" and sample.labels["outcome"] in OUTCOMES:
                found[sample.labels["outcome"]] += int(sample.value)
    return found


async def _empty(site: Site) -> bool:
    return not await site.waiting()


async def _archived(site: Site, number: int) -> bool:
    return await site.count("dead_letters") >= number


async def _stored(site: Site, sale: str) -> bool:
    return bool(await site.rows(f"SELECT 1 FROM sales WHERE id = '{sale}'"))


async def _check_ends(site: Site, sent: list[Delivery]) -> None:
    stored = {str(sale) for (sale,) in await site.rows("SELECT id FROM sales")}
    ends: dict[str, set[str]] = {"effect": set(), "dead letter": set(), "either": set()}
    for each in sent:
        ends[each.end].add(each.sale)
    assert not ends["effect"] - stored, "good messages without effect"
    assert not ends["dead letter"] & stored, "effects of broken messages"
    assert stored <= ends["effect"] | ends["either"]
