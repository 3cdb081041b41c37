"""How fast the relay gets rid of a backlog."""

import asyncio
import sys
from uuid import uuid4

from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from benchmarks.process import (
    Contender,
    Work,
    assembled,
    started,
    watch,
)
from benchmarks.servers import Servers
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.slices.sales.messages import SALE_BOOKED, SaleBooked

_AT_ONCE = 1000  # events in one transaction
_DONE = "SELECT {} - count(*) FROM outbox"

_SERVICE = [sys.executable, "-m", "tests.chassis"]
RELAY = Contender("relay", [*_SERVICE, "run", "--only", "relay"])


async def relay(servers: Servers, *, events: int, seconds: float) -> Work:
    """Fill the outbox, start a relay, and watch it until the outbox is empty or time is over."""
    with servers.site() as environment:
        async with assembled(environment) as service:
            await asyncio.create_task(_fill(service, events))
        async with started(RELAY, environment) as pid:
            database, done = environment["DATABASE_URL"], _DONE.format(events)
            return await watch([pid], database, done, messages=events, seconds=seconds)


async def _fill(service: Service, events: int) -> None:
    work_for(TENANT)  # feature: row, rls, schema
    listener = Queue("listener", bindings=(SALE_BOOKED,))
    await service.broker.declare(service.topology.exchange, [listener])
    outbox = Outbox(service.manager)
    for _ in range(0, events, _AT_ONCE):
        async with service.manager.transaction("fill"):
            for _ in range(_AT_ONCE):
                booked = SaleBooked(sale_id=uuid4(), total_cents=450)
                await outbox.add(SALE_BOOKED, booked)
