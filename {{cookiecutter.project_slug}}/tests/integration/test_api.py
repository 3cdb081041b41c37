# feature: http_api
"""Orders over HTTP, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from typing import Any

import pytest

from acme_orders.app import Service
from acme_orders.http import listen, serve
from acme_orders.orders.messages import OrderForm
from acme_orders.readiness.scratch import TENANT  # feature: row, rls, schema

from tests.conftest import Connect, consuming, count, eventually, settled

FORM = dict(OrderForm.example())


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory."""
    async with connect() as connected:
        yield connected


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    """Where its API answers."""
    listening, stop = listen("127.0.0.1", 0, "HTTP_PORT"), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(service.api, listening, stop))
        yield listening.getsockname()[1]
        stop.set()


async def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request, as a client on the network makes it."""

    def exchange() -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {
            "Content-Type": "application/json",
            "Connection": "close",
            "X-Tenant-ID": str(TENANT),  # feature: row, rls, schema
        }
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)

    return await asyncio.to_thread(exchange)


def connections_in_use(service: Service) -> float | None:
    """As the metric has it."""
    return service.metrics.registry.get_sample_value("db_client_connections", {"state": "used"})


async def test_an_order_that_is_handed_in_is_processed_and_found(
    service: Service, port: int
) -> None:
    """202 with its id, then the outbox, the queue, the handler, and the order is there."""
    status, answer = await ask(port, "POST", "/orders", FORM)
    assert status == 202
    path = f"/orders/{answer['order_id']}"
    assert (await ask(port, "GET", path))[0] == 404

    async with consuming(service):
        await service.relay.run_once()
        await eventually(lambda: settled(service, "done") == 1)

    status, order = await ask(port, "GET", path)
    assert (status, order["total_cents"], order["status"]) == (200, 900, "accepted")
    assert [line["sku"] for line in order.pop("lines")] == ["TEA-1"]
    assert await ask(port, "GET", "/orders?limit=5") == (200, [order])
    after = f"after_time={order['placed_at'].replace('+', '%2B')}&after_id={order['id']}"
    assert await ask(port, "GET", f"/orders?{after}") == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/orders", {}, 422),
        ("POST", "/orders", FORM | {"lines": []}, 422),
        ("POST", "/orders", FORM | {"currency": "euro"}, 422),
        ("GET", "/orders/not-a-uuid", None, 422),
        ("GET", "/orders?limit=101", None, 422),
        ("GET", "/orders/00000000-0000-0000-0000-000000000000", None, 404),
    ],
)
async def test_a_bad_request_is_refused_and_its_connection_given_back(
    service: Service, port: int, method: str, path: str, body: Any, expected: int
) -> None:
    """Nothing is written, and the pool is whole."""
    assert (await ask(port, method, path, body))[0] == expected
    assert await count(service, "outbox") == 0
    await eventually(lambda: connections_in_use(service) == 0)
