"""F34 to F36: processes are stopped, killed and started again while messages keep coming."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from urllib.parse import urlsplit

import pytest

from acme_orders.chassis.process.shutdown import CLOSING

from dev.proxy import Proxy
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import at_least, entered
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site

ADD = "tests.chassis.slices.sales.repository:Sales.add_all"
DRAIN = 1.5  # seconds
MARGIN = 4.0  # seconds; the machine has other things to do, and Python has to end
SLOW = "slow-0.05"
# Much in hand, and little time to finish it.
HASTY = {
    "DRAIN_TIMEOUT": f"{DRAIN}s",
    "CONCURRENCY": "2",
    "BATCH_SIZE": "5",
    "PREFETCH": "100",
}
# A connection that is lost is noticed soon; so is a process that stood still for some seconds.
NOTICED = {**HASTY, "HEARTBEAT": "1"}


@pytest.mark.fault("F34", "SIGTERM under load, and too little time")
async def test_sigterm_under_load(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """What is not done goes back once, all of it, and nothing is done by halves."""
    member = await fleet.start(environment=HASTY)
    async with asyncio.TaskGroup() as group:
        # So slow that more comes than is done, however slow the machine is that sends.
        group.create_task(load.send(250, fate="slow-0.1", duplicates=25, rate=120))
        await eventually(at_least(90, fleet, "messages_in_flight"))
        await eventually(lambda: site.count("sales"))
        status, seconds = await member.terminate()
    assert status == 0
    assert seconds < DRAIN + CLOSING + MARGIN
    left = await returns(site)
    assert load.acknowledged == await entered(site) | left.keys()  # none is unacked, or on a ladder
    assert set(left.values()) == {0, 1}  # some were in hand, none was counted twice
    await fleet.start()
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F34", "SIGTERM with all in hand, and time enough")
async def test_sigterm_with_time(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """All that was in hand is finished, and nothing of it is delivered again."""
    number = 150
    environment = {**HASTY, "PREFETCH": str(number), "DRAIN_TIMEOUT": "30s"}
    member = await fleet.start(environment=environment)
    await load.send(number, fate=SLOW)
    await eventually(at_least(number, fleet, "messages_received_total"))
    assert await fleet.metric("messages_in_flight") > number / 10
    assert (await member.terminate())[0] == 0
    assert await entered(site) == load.acknowledged
    assert not await returns(site)
    await fleet.start()  # for what the relay had not taken yet
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F34", "SIGTERM under load, and time enough")
async def test_sigterm_while_messages_come(
    site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """What was in hand is finished; RabbitMQ itself takes back what meets the cancel on its way."""
    member = await fleet.start(environment={**HASTY, "DRAIN_TIMEOUT": "30s"})
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(250, fate=SLOW, rate=120))
        await eventually(at_least(90, fleet, "messages_in_flight"))
        assert (await member.terminate())[0] == 0
    left = await returns(site)
    assert await entered(site) == load.acknowledged - left.keys()
    assert sum(left.values()) < 10
    await fleet.start()
    (await settle()).check()


async def returns(site: Site) -> dict[str, int]:
    """How often each message that waits came back, by its id; all stay, with one return more."""
    found = {}
    async with site.channel() as channel:
        queue = await channel.get_queue(site.topology.main.name, ensure=False)
        while incoming := await queue.get(fail=False):
            count = incoming.headers.get("x-delivery-count", 0)
            assert isinstance(count, int)
            found[str(incoming.message_id)] = count
    return found


def servers(site: Site) -> dict[str, str]:
    """Where the servers are, by the setting that has the address."""
    return {"BROKER_URL": site.broker_url, "DATABASE_URL": site.database_url}


@pytest.fixture
def networks(site: Site) -> Iterator[dict[str, Proxy]]:
    """Networks between the processes and their servers, by the same settings."""
    with ExitStack() as stack:
        found = {}
        for name, url in servers(site).items():
            server = urlsplit(url)
            assert server.hostname is not None
            assert server.port is not None
            found[name] = stack.enter_context(Proxy(server.hostname, server.port))
        yield found


@pytest.mark.parametrize("signals", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "failpoints",
    [
        pytest.param([], marks=pytest.mark.long, id="works"),
        pytest.param([f"before:{ADD}:sleep=60"], id="hangs"),
    ],
)
@pytest.mark.parametrize(
    "outages",
    [
        {"BROKER_URL": "black_hole", "DATABASE_URL": "black_hole"},  # all wait as long as they may
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in (
                {"BROKER_URL": "refuse", "DATABASE_URL": "refuse"},
                {"BROKER_URL": "refuse", "DATABASE_URL": "black_hole"},
                {"BROKER_URL": "black_hole"},
                {"DATABASE_URL": "black_hole"},
            )
        ),
    ],
    ids=lambda outages: "-".join(f"{name[:2]}_{how}" for name, how in outages.items()),
)
@pytest.mark.fault("F35", "SIGTERM while servers are away")
async def test_sigterm_in_an_outage(
    signals: int,
    failpoints: list[str],
    outages: dict[str, str],
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
    networks: dict[str, Proxy],
) -> None:
    """Nobody has noticed the outage yet; the process ends in time, and a second signal at once."""
    through = {name: networks[name].url(url) for name, url in servers(site).items()}
    member = await fleet.start(*failpoints, environment={**NOTICED, **through})
    await load.send(150, fate=SLOW)
    await eventually(at_least(20, fleet, "messages_in_flight"))
    for name, outage in outages.items():
        assert networks[name].connections
        getattr(networks[name], outage)()
    if signals == 2:
        member.send_signal(signal.SIGTERM)
        await eventually(lambda: member.records("service.draining"))
    status, seconds = await member.terminate()
    if signals == 2:
        assert (status, bool(member.records("service.aborted"))) == (1, True)
        assert seconds < MARGIN
    else:
        assert status == 0
        assert seconds < DRAIN + CLOSING + MARGIN
    assert await site.count("inbox") < 150  # it had something to do
    for network in networks.values():
        network.pass_on()
    await fleet.start()
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F35", "SIGTERM in the moment when servers go away")
async def test_sigterm_with_an_outage(
    site: Site, load: Load, fleet: Fleet, settle: Settle, networks: dict[str, Proxy]
) -> None:
    """What the broker is asked at the end is lost with the connection; the process ends in time."""
    through = {name: networks[name].url(url) for name, url in servers(site).items()}
    member = await fleet.start(f"before:{ADD}:sleep=60", environment={**NOTICED, **through})
    await load.send(150)
    await eventually(at_least(20, fleet, "messages_in_flight"))
    member.send_signal(signal.SIGSTOP)  # so that it notices all of it at once
    networks["BROKER_URL"].refuse()
    networks["DATABASE_URL"].black_hole()
    member.send_signal(signal.SIGTERM)
    began = time.monotonic()
    member.send_signal(signal.SIGCONT)
    assert await member.ended() == 0
    assert time.monotonic() - began < DRAIN + CLOSING + MARGIN
    for network in networks.values():
        network.pass_on()
    await fleet.start()
    (await settle()).check()


@pytest.mark.parametrize(
    ("how", "number"),
    [
        (signal.SIGTERM, 4),
        pytest.param(signal.SIGTERM, 30, marks=[pytest.mark.long, pytest.mark.timeout(300)]),
        pytest.param(signal.SIGKILL, 30, marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
@pytest.mark.fault("F36", "processes are restarted in turn")
async def test_rolling_restarts(
    how: signal.Signals, number: int, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """However often messages come back from a process that ends: no dead letter, none lost."""
    quick = {**NOTICED, "DRAIN_TIMEOUT": "500ms"}
    two = await asyncio.gather(*(fleet.start(supervised=True, environment=quick) for _ in range(2)))
    await load.send(200, fate=SLOW)
    returned = 0.0
    async with asyncio.TaskGroup() as group:
        for turn in range(number):
            member = two[turn % 2]
            await eventually(partial(_ended, member, turn // 2))
            await member.ready()  # the other one may still be ending, or starting
            await _busied(member, load, group)
            returned += await member.metric("messages_returned_total")
            member.send_signal(how)
    for member in two:
        await eventually(partial(_ended, member, number // 2))
        await member.ready()
        assert set(member.statuses) == {0 if how == signal.SIGTERM else -how}
    assert returned > number
    account = await settle()
    account.check()
    assert not account.dead


def _ended(member: Member, times: int) -> bool:
    return len(member.statuses) == times


async def _busied(member: Member, load: Load, group: asyncio.TaskGroup) -> None:
    """The other one takes its share, and a slow machine looks seldom: so more comes each time."""
    for turn in range(20):
        group.create_task(load.send(50 * (turn + 1), fate=SLOW))
        with suppress(TimeoutError):
            return await eventually(partial(_busy, member), within=5)
    pytest.fail("it was never busy")


async def _busy(member: Member) -> bool:
    """Much in hand, and some done: a life without work would be a crash at start."""
    done = await member.metric("messages_processed_total", outcome="done")
    return done >= 20 and await member.metric("messages_in_flight") >= 20
