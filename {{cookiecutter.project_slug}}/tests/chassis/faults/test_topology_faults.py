"""F53, F54: what is declared in RabbitMQ is changed while processes are at work."""

import asyncio
import os

import pytest

from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import at_least, readiness, spent_nothing, told
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.management import Management
from tests.chassis.faults.site import LISTENER, Site
from tests.chassis.slices.sales.messages import SALE_BOOKED, SALE_MADE


@pytest.fixture
def management(broker_url: str) -> Management:
    """The administrator of the virtual host."""
    return Management(broker_url, os.environ["RABBITMQ_MANAGEMENT_URL"])


@pytest.fixture
def environment() -> dict[str, str]:
    """Processes look often."""
    return {"TOPOLOGY_CHECK": "500ms"}


@pytest.mark.parametrize("what", ["binding", pytest.param("exchange", marks=pytest.mark.long)])
@pytest.mark.fault("F53", "a binding or the exchange is removed")
async def test_removed(
    what: str, management: Management, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """It is there again within seconds; what was refused meanwhile arrives when sent again."""
    await asyncio.gather(fleet.start(), fleet.start())
    exchange, queue = site.topology.exchange, site.topology.main.name
    async with asyncio.TaskGroup() as group:
        group.create_task(load.send(150, rate=30))
        await eventually(lambda: site.count("sales"))
        if what == "binding":
            await management.unbind(exchange, queue, SALE_MADE)
        else:
            await management.delete_exchange(exchange)
        await eventually(at_least(1, fleet, "topology_restored_total"))
    if what == "exchange":  # its other bindings are not ours to restore
        async with site.channel() as channel:
            listener = await channel.get_queue(LISTENER)
            await listener.bind(exchange, SALE_BOOKED)
    assert any(member.records("topology.restored") for member in fleet.members)
    await eventually(readiness(fleet, 200))
    await spent_nothing(fleet, site, load)
    (await settle()).check()


@pytest.mark.fault("F54", "a policy lets messages expire")
async def test_a_policy_that_loses_messages(
    management: Management, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """No process is ready until it is gone, each says why, and none of them stops working."""
    await asyncio.gather(fleet.start(), fleet.start())
    await eventually(readiness(fleet, 200))
    await management.set_policy(f"^{site.topology.main.name}$", message_ttl=600_000)
    # Something else may be wrong for a moment, such as a PostgreSQL that is slow to answer.
    await eventually(lambda: told(fleet, 503, "message-ttl is 600000 by policy limits"))
    for member in fleet.members:
        assert len(member.records("topology.differs")) == 1
    await load.send(50)
    await spent_nothing(fleet, site, load)
    await management.clear_policy()
    await eventually(readiness(fleet, 200))
    assert all(member.records("topology.as_declared") for member in fleet.members)
    (await settle()).check()
