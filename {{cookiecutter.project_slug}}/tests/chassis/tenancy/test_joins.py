# feature: row, rls
"""A join finds rows of the tenant whose scope is open, and of no other."""

from collections.abc import AsyncIterator
from typing import Any

import peewee
import pytest

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.scope import tenant_scope

from tests.chassis.slices.sales.models import Buyer, Line, Sale
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import ADA, BOB, register, sale

JOINS: dict[str, Any] = {
    "by the foreign key": lambda: Sale.select(Sale.id, Buyer.email).join(Buyer),
    "backwards": lambda: Buyer.select(Sale.id, Buyer.email).join(Sale),
    "over another": lambda: Line.select(Sale.id, Buyer.email).join(Sale).join(Buyer),
    "by a condition": lambda: Sale.select(Sale.id, Buyer.email).join(
        Buyer, on=(Sale.buyer_id == Buyer.id)
    ),
    "from one that is named": lambda: (
        Line.select(Sale.id, Buyer.email).join(Sale).join_from(Sale, Buyer)
    ),
    "of an alias": lambda: _of_an_alias(Buyer.alias()),
    "outer": lambda: Sale.select(Sale.id, Buyer.email).join(Buyer, peewee.JOIN.LEFT_OUTER),
}


def _of_an_alias(other: Any) -> Any:
    return Sale.select(Sale.id, other.email).join(other, on=(Sale.buyer_id == other.id))


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[Manager]:
    """Two tenants, with the same sale each."""
    register(database_url, [ADA, BOB])
    async with Manager(
        DatabaseSettings(database_url=database_url, pool_size=1), Metrics()
    ) as manager:
        yield manager


@pytest.mark.parametrize("how", JOINS)
async def test_a_join_is_pinned(manager: Manager, how: str) -> None:
    """Every table of it: nothing is refused, and nothing of another tenant is found."""
    for tenant in (ADA, BOB):
        with tenant_scope(tenant):
            async with manager.transaction("sell"):
                await Sales(manager).add_all([sale(1)])
    with tenant_scope(ADA):
        select = JOINS[how]()
        sql, parameters = select.sql()
        assert parameters.count(ADA.hex) == 1 + sql.count("JOIN"), sql
        async with manager.transaction("look", read_only=True):
            assert len(await manager.fetch(select.limit(10).dicts())) == 1
