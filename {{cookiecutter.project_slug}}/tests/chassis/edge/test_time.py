# feature: http_api
"""A route that never ends holds its place for a while, and then nothing that others need."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from acme_orders.chassis.process.exchange import Reply, exchange
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.slice import Chassis, Slice

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import Connect, count, eventually
from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade

LONGEST = 0.5  # seconds; the machine has other things to do
SALE = SaleMade.model_validate(SaleMade.example())


def stuck(chassis: Chassis[Any]) -> Slice:
    """A slice of its own."""

    def router() -> APIRouter:
        routes = APIRouter(prefix="/stuck")

        @routes.post("/effect")
        async def effect() -> None:
            async with chassis.manager.transaction("effect"):
                await chassis.outbox.add(SALE_MADE, SALE)
                await asyncio.Event().wait()

        @routes.post("/asleep")
        async def asleep() -> None:
            async with chassis.manager.transaction("asleep"):
                await chassis.manager.fetch_sql("SELECT pg_sleep(60)")

        @routes.get("/stream")
        async def stream() -> StreamingResponse:
            async def parts() -> AsyncIterator[str]:
                yield "begun, "
                await asyncio.sleep(2 * LONGEST)
                yield "and ended"

            return StreamingResponse(parts())

        return routes

    return Slice("stuck", routes=router)


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory, with one place."""
    async with connect(stuck, http_timeout=LONGEST, http_concurrency=1) as connected:
        yield connected


async def asked(service: Service, method: str, path: str, **headers: str) -> Reply:
    """One request."""
    headers |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
    return await exchange(service, method, path, None, headers)


async def listed(service: Service) -> bool:
    """Whether a request is answered that only reads."""
    return (await asked(service, "GET", "/sales")).status == 200


@pytest.mark.parametrize("path", ["/stuck/effect", "/stuck/asleep"])
@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "one"}])
async def test_a_request_that_takes_too_long_is_ended(
    service: Service, path: str, key: dict[str, str]
) -> None:
    """503 with the setting, its effect undone, its place and its connection free."""
    for _ in range(2):  # the second one has a place
        answer = await asked(service, "POST", path, **key)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "HTTP_TIMEOUT" in answer.json["detail"]
    told = service.metrics.registry.get_sample_value
    assert told("http_refused_total", {"reason": "time"}) == 2
    await eventually(lambda: listed(service))  # a slow machine may end this one as well
    assert await count(service, "outbox") == await count(service, "idempotency_keys") == 0
    assert told("db_client_connections", {"state": "used"}) == 0


async def test_an_answer_that_has_begun_is_not_ended(service: Service) -> None:
    """It holds no place any more."""
    answer = await asked(service, "GET", "/stuck/stream")
    assert (answer.status, answer.body) == (200, b"begun, and ended")
