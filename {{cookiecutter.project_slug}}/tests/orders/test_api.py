# feature: http_api
"""Orders over HTTP."""

from typing import Any

import pytest

from acme_orders.chassis.testing import ServiceUnderTest
from acme_orders.orders.messages import OrderAccepted, OrderForm

from tests.orders.examples import line

FORM = OrderForm.example()


async def test_an_order_that_is_handed_in_is_processed_soon(service: ServiceUnderTest) -> None:
    """202 with its id; when the service has processed its own message, the order is there."""
    answer = await service.request("POST", "/orders", FORM)
    assert answer.status == 202
    order_id = answer.json["order_id"]
    assert (await service.request("GET", f"/orders/{order_id}")).status == 404

    assert [each.status for each in await service.drain()] == ["done"]

    found = await service.request("GET", f"/orders/{order_id}")
    assert (found.status, found.json["status"], found.json["total_cents"]) == (200, "accepted", 900)
    assert [str(each.order_id) for each in service.published(OrderAccepted)] == [order_id]


async def test_orders_come_in_pages(service: ServiceUnderTest) -> None:
    """`next` of a page is the cursor of the next one."""
    for number in range(1, 4):
        form = {**FORM, "lines": [line(1, number)], "placed_at": f"2026-03-0{number}T12:00:00Z"}
        await service.request("POST", "/orders", form)
    await service.drain()

    first = (await service.request("GET", "/orders?limit=2")).json
    second = (await service.request("GET", f"/orders?cursor={first['next']}")).json
    assert second["next"] is None
    assert [each["total_cents"] for each in [*first["items"], *second["items"]]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/orders", {}, "customer_email"),
        ("POST", "/orders", {**FORM, "lines": []}, "lines"),
        ("POST", "/orders", {**FORM, "currency": "euro"}, "currency"),
        ("GET", "/orders/not-a-uuid", None, "order_id"),
        ("GET", "/orders?limit=101", None, "limit"),
        ("GET", "/orders?cursor=x", None, "cursor"),
    ],
)
async def test_a_bad_request_is_refused(
    service: ServiceUnderTest, method: str, path: str, body: Any, says: str
) -> None:
    """422 with the field that is wrong, and nothing is stored."""
    answer = await service.request(method, path, body)
    assert answer.status == 422
    assert says in answer.json["detail"]
    assert await service.drain() == []
