"""F9, F10, F12, F19 to F22: somebody hurts one virtual host, and sets it right again."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from acme_orders.chassis.messaging.broker import Delivery
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected as service_on
from acme_orders.chassis.rabbitmq.broker import RabbitBroker

from tests.chassis.conftest import consuming, eventually
from tests.chassis.faults.conditions import arrived, at_least, connected, spent_nothing
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.management import Management
from tests.chassis.faults.site import LISTENER, Site
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_BOOKED

MISCONFIGURED = 78


@pytest.fixture
def management(broker_url: str) -> Management:
    """The administrator of the virtual host."""
    return Management(broker_url, os.environ["RABBITMQ_MANAGEMENT_URL"])


@pytest.fixture
async def user(management: Management) -> AsyncIterator[str]:
    """A user of RabbitMQ that only the processes of the test are; others keep their connections."""
    name = f"test_{uuid4().hex}"
    yield name
    await management.dismiss(name)


@pytest.fixture
async def environment(management: Management, user: str) -> dict[str, str]:
    """The processes connect as this user."""
    return {"BROKER_URL": await management.admit(user)}


@pytest.fixture
async def pair(fleet: Fleet) -> Fleet:
    """Two processes at work."""
    await asyncio.gather(fleet.start(), fleet.start())
    return fleet


@pytest.mark.fault("F9", "all connections are closed, again and again")
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.long)])
async def test_closed_connections(
    times: int,
    management: Management,
    user: str,
    site: Site,
    load: Load,
    pair: Fleet,
    settle: Settle,
) -> None:
    """Handlers in flight go on; what they did is not done again when its message comes back."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_send_until(over, load))
        # Three connections in each of two processes.
        while await pair.metric("broker_reconnects_total") < 6 * times:
            await management.admit(user)
            await asyncio.sleep(0.2)
        # On a slow machine all of that may have met no message in hand.
        while not await pair.metric("acks_lost_total"):
            await eventually(at_least(1, pair, "messages_in_flight"))
            await management.admit(user)
        over.set()
    await eventually(connected(pair))
    await spent_nothing(pair, site, load)
    # A handler that was cancelled with its connection would have run a second time.
    assert await pair.metric("handler_duration_seconds_count") == len(load.attempted)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F10", "every delivery is acked twice")
async def test_double_acks(
    site: Site, load: Load, fleet: Fleet, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second ack is not sent: it would close the channel, and return its neighbours."""
    ack, again = RabbitBroker.ack, 0

    async def twice(broker: RabbitBroker, deliveries: Sequence[Delivery]) -> set[Delivery]:
        nonlocal again
        lost = await ack(broker, deliveries)
        await ack(broker, deliveries)
        again += len(deliveries)
        return lost

    monkeypatch.setattr(RabbitBroker, "ack", twice)
    settings, metrics = SERVICE.load_settings(_env_file=None, **_lowered(site)), Metrics()
    async with service_on(SERVICE, settings, metrics) as service, consuming(service):
        await load.send(100)
        await eventually(lambda: arrived(site, load))
        await eventually(lambda: again == 100)
        assert service.broker.connected
        returned = "messages_returned_total", {"queue": service.topology.main.name}
        assert not metrics.registry.get_sample_value(*returned)
    await fleet.start(only="relay")
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F12", "all queues of the service are deleted")
async def test_deleted_queues(
    management: Management, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """They are declared again as they were; what was in a handler is done all the same."""
    await eventually(lambda: _declared(management, 1 + len(list(site.topology))))
    before = await management.queues()
    for _ in range(3):
        await load.send(4, fate="slow-1")
        await eventually(lambda: _in_hand(pair, 4))
        async with asyncio.TaskGroup() as group:
            # What waits in a queue goes with it: the client sends when it is gone.
            for queue in site.topology:
                await management.delete_queue(queue.name)
            group.create_task(load.send(30, rate=30))
            group.create_task(load.send(10, fate="fail-1", rate=30))
        await eventually(lambda: arrived(site, load))
    assert await management.queues() == before
    assert all(member.records("subscription.restored") for member in pair.members)
    assert await pair.metric("dead_letters_total") == 0
    (await settle()).check()


@pytest.mark.fault("F19", "nobody is bound to our events")
async def test_unroutable(site: Site, load: Load, fleet: Fleet, settle: Settle) -> None:
    """They stay in the outbox, one line says so, and a binding sets all right."""
    member = await fleet.start()
    async with site.channel() as channel:
        listener = await channel.get_queue(LISTENER)
        await listener.unbind(site.topology.exchange, SALE_BOOKED)
        await load.send(100)
        await eventually(lambda: _parked(site, 100))
        await listener.bind(site.topology.exchange, SALE_BOOKED)
    await eventually(lambda: member.records("relay.type_parked"))  # it is parked before
    (record,) = member.records("relay.type_parked")
    assert "no queue is bound" in record["why"]
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F20", "the queue of a listener is full")
async def test_a_full_listener(
    management: Management, site: Site, load: Load, pair: Fleet, settle: Settle
) -> None:
    """The outbox keeps what the listener has no room for."""
    await management.limit_queue(LISTENER, 10)
    await load.send(200, rate=100)
    await spent_nothing(pair, site, load)
    await eventually(lambda: _parked(site, 100))
    assert await site.count("outbox") < 200  # it was full, and not closed
    # RabbitMQ 3.10 goes on for ever on the channels on which it has refused something.
    await management.limit_queue(LISTENER, None)
    (await settle()).check()


@asynccontextmanager
async def deprived(
    how: str, management: Management, user: str, member: Member
) -> AsyncIterator[None]:
    """A process whose user may not do what it has to do, and it says so."""
    match how:
        case "no permission":  # connecting is allowed, consuming is not
            event = "subscription.refused"
            await management.admit(user, allowed="^$")
        case "no access":
            event = "broker.unreachable"
            await management.admit(user, allowed=None)
        case "another password":
            event = "broker.unreachable"
            await management.admit(user, password="second")
    await eventually(lambda: _refused_to(member, event))
    yield
    await management.admit(user)


@pytest.mark.long
@pytest.mark.parametrize("how", ["no permission", "no access", "another password"])
@pytest.mark.fault("F21", "a user is deprived of its rights")
async def test_deprived(
    how: str,
    management: Management,
    user: str,
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
) -> None:
    """An outage like any other, with a clear log; a process that is started meanwhile gives up."""
    member = await fleet.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(150, rate=30))
        await eventually(lambda: site.count("sales"))
        async with deprived(how, management, user, member):
            late = await fleet.start(ready=False)
            assert await late.ended() == 1
            assert "refused" in late.log.read_text("utf-8").lower()
            fleet.members.remove(late)
    await eventually(connected(fleet), within=60)
    await spent_nothing(fleet, site, load)
    (await settle()).check()


@pytest.mark.long
@pytest.mark.fault("F22", "a queue is there with other arguments")
async def test_drift(
    management: Management, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """The process does not start, and names the difference, as the command `topology` does."""
    name = site.topology.main.name
    await management.delete_queue(name)
    async with site.channel() as channel:
        other = dict(site.topology.main.arguments) | {"x-delivery-limit": 7}
        await channel.declare_queue(name, durable=True, arguments=other)
    difference = f"x-delivery-limit is 7, this version declares {site.topology.main.delivery_limit}"

    started = await fleet.start(ready=False)
    assert await started.ended() == MISCONFIGURED
    assert f"queue {name}: {difference}" in started.log.read_text("utf-8")
    fleet.members.remove(started)

    status, shown = await command(site, "topology", "--json")
    assert status == MISCONFIGURED
    assert difference in shown

    await management.delete_queue(name)
    await fleet.start()
    await load.send(20)
    (await settle()).check()


async def command(site: Site, *arguments: str) -> tuple[int | None, str]:
    """Run the command line on a site; exit status and standard output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chassis", *arguments),
        env={**os.environ, **site.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def _send_until(over: asyncio.Event, load: Load) -> None:
    while not over.is_set():
        async with asyncio.TaskGroup() as group:
            group.create_task(load.send(50, rate=25))
            group.create_task(load.send(15, fate="slow-0.2", rate=8))


def _lowered(site: Site) -> dict[str, str]:
    return {name.lower(): value for name, value in site.environment.items()}


async def _declared(management: Management, number: int) -> bool:
    return len(await management.queues()) == number


async def _in_hand(fleet: Fleet, number: int) -> bool:
    return await fleet.metric("messages_in_flight") == number


async def _parked(site: Site, number: int) -> bool:
    return await site.count("outbox WHERE available_at = 'infinity'") >= number


async def _refused_to(member: Member, event: str) -> bool:
    return any("refused" in record["why"].lower() for record in member.records(event))
