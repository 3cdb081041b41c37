"""The service that the tests of this slice work with."""

from collections.abc import AsyncIterator

import pytest

from acme_orders.chassis import testing
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.testing import ServiceUnderTest
from acme_orders.orders.repository import Orders
from acme_orders.service import SERVICE

from readiness.two_tenants import TENANT  # feature: row, rls, schema


@pytest.fixture
async def service(settings: ChassisSettings) -> AsyncIterator[ServiceUnderTest]:
    """The service on an empty database, with a broker in memory."""
    async with testing.service(
        SERVICE,
        settings,
        tenant=TENANT,  # feature: row, rls, schema
    ) as service:
        yield service


@pytest.fixture
def orders(service: ServiceUnderTest) -> Orders:
    """The repository; it needs `async with service.transaction()` around it."""
    return Orders(service.manager)
