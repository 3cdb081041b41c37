# feature: row, rls, schema
"""Many tenants at once on two connections, and a part of the work is interrupted."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID

import pytest

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.relay.backlog import OutboxBacklog
from acme_orders.chassis.tenancy.scope import system_scope, tenant_scope

from tests.chassis.integration.hazards_bare import DRIVERS, use_driver
from tests.chassis.slices.sales.messages import SALE_MADE
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import owned, register, sale, schemas

CONNECTIONS = 2
UNITS = 200
SCHEMAS = 24  # of tenants; each has tables of its own to be made
LONGEST = 0.01  # seconds until an interruption; a unit alone takes about as long
INTERRUPTED = (TimeoutError, asyncio.CancelledError)
SESSION = """
SELECT nullif(current_setting('app.tenant_id', true), ''), current_user::text,
    current_setting('search_path')
"""
CLEAN = (None, SERVICE_ROLE, 'public, "$user", public')


@pytest.fixture
def tenants(database_url: str) -> list[UUID]:
    """Registered tenants: as many as there are units, or fewer if each has a schema."""
    count = SCHEMAS if schemas(database_url) else UNITS
    found = [UUID(int=1000 + number) for number in range(count)]
    register(database_url, found)
    return found


@pytest.fixture
def metrics() -> Metrics:
    """What the manager counts."""
    return Metrics()


@pytest.fixture(params=DRIVERS)
async def manager(
    request: pytest.FixtureRequest,
    database_url: str,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Manager]:
    """A manager whose connections everybody waits for."""
    use_driver(request.param, monkeypatch)
    settings = DatabaseSettings(
        database_url=database_url, pool_size=CONNECTIONS, acquire_timeout=60
    )
    async with Manager(settings, metrics, role=SERVICE_ROLE) as opened:
        yield opened


async def store_and_read(manager: Manager, tenant: UUID) -> None:
    """One unit: the order that all have, with the tenant's own total, and every way to see it."""
    sales, outbox, sold = Sales(manager), Outbox(manager), sale(tenant.int)
    async with manager.connection() as lease:
        with tenant_scope(tenant):
            assert await lease.rows(SESSION) == [CLEAN]
            async with manager.transaction("store"):
                await sales.add_all([sold])
                await outbox.add(SALE_MADE, sold)
            async with manager.transaction("read", read_only=True):
                found = await sales.by_id(sold.sale_id)
                page = await sales.page()
                days = await sales.revenue(since=date(2026, 1, 1))
    assert found is not None
    seen = [found.total_cents, [line.unit_price_cents for line in found.lines]]
    seen += [[each.total_cents for each in page], [(day.sales, day.total_cents) for day in days]]
    assert seen == [tenant.int, [tenant.int], [tenant.int], [(1, tenant.int)]]


async def look_at_all(manager: Manager) -> None:
    """What the relay does between the tenants, with more rights than they have."""
    with system_scope("test"):
        async with manager.transaction("all", read_only=True):
            await OutboxBacklog(manager).pending()


async def cancelled(manager: Manager, tenant: UUID, after: float) -> None:
    """A unit that somebody gives up on, perhaps while it still waits for a connection."""
    task = asyncio.create_task(store_and_read(manager, tenant))
    await asyncio.wait([task], timeout=after)
    task.cancel()
    await task


async def timed_out(manager: Manager, tenant: UUID, after: float) -> None:
    """A unit that runs out of time in the middle of its work."""
    async with manager.connection(), asyncio.timeout(after):
        await store_and_read(manager, tenant)


async def left_behind(manager: Manager, all_of_them: asyncio.Barrier) -> list[tuple[object, ...]]:
    """What is found in a session when nobody works; each caller has another one."""
    async with manager.connection() as lease:
        await all_of_them.wait()
        return await lease.rows(SESSION)


async def test_no_tenant_meets_another(
    manager: Manager, tenants: list[UUID], metrics: Metrics, database_url: str
) -> None:
    """Whatever is interrupted: who reads sees his own, and the connections keep nothing of it."""
    chance = random.Random(20260131)
    done, units = set(), []

    async def unit(tenant: UUID) -> None:
        await store_and_read(manager, tenant)
        done.add(tenant)

    for number in range(UNITS):
        tenant = tenants[number % len(tenants)]
        if chance.random() < 0.25:
            interrupt = chance.choice((timed_out, cancelled))
            units.append(interrupt(manager, tenant, chance.choice((0, chance.uniform(0, LONGEST)))))
        else:
            units.append(unit(tenant))
        if number % 10 == 0:
            units.append(look_at_all(manager))
    ends = await asyncio.gather(*units, return_exceptions=True)

    interruptions = [end for end in ends if end is not None]
    unexpected = [end for end in interruptions if not isinstance(end, INTERRUPTED)]
    assert unexpected == []
    assert {type(end) for end in interruptions} == set(INTERRUPTED)
    for table, column in (("sales", "total_cents"), ("sale_lines", "unit_price_cents")):
        found = owned(database_url, column, table)
        assert done <= found.keys() <= set(tenants)
        assert found == {tenant: [(tenant.int,)] for tenant in found}
    value = metrics.registry.get_sample_value
    assert value("db_client_connections", {"state": "used"}) == 0
    assert value("db_client_connections_pending_requests") == 0
    all_of_them = asyncio.Barrier(CONNECTIONS)
    left = [left_behind(manager, all_of_them) for _ in range(CONNECTIONS)]
    assert list(await asyncio.gather(*left)) == [[CLEAN]] * CONNECTIONS
