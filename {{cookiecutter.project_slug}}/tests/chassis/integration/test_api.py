# feature: http_api
"""Sales over HTTP, on a real socket."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from http.client import HTTPConnection
from typing import Any

import pytest

from acme_orders.chassis.http.explained import FAILED
from acme_orders.chassis.process.service import Service

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import Connect, consuming, count, eventually, rows, settled
from tests.chassis.slices.sales.messages import SaleForm
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import ADA, BOB, NOBODY, register  # feature: row, rls, schema

FORM = dict(SaleForm.example())
HEADERS = {
    "Content-Type": "application/json",
    "Connection": "close",
    "X-Tenant-ID": str(TENANT),  # feature: row, rls, schema
}


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory."""
    async with connect() as connected:
        yield connected


async def ask(
    port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] = HEADERS
) -> tuple[int, Any]:
    """One request, as a client on the network makes it."""

    def exchange() -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
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
    """202 with its id, then the outbox, the queue, the handler, and the sale is there."""
    status, answer = await ask(port, "POST", "/sales", FORM)
    assert status == 202
    path = f"/sales/{answer['sale_id']}"
    assert (await ask(port, "GET", path))[0] == 404

    async with consuming(service):
        await service.relay.run_once()
        await eventually(lambda: settled(service, "done") == 1)

    status, sale = await ask(port, "GET", path)
    assert (status, sale["total_cents"], sale["status"]) == (200, 900, "booked")
    assert [line["sku"] for line in sale.pop("lines")] == ["TEA-1"]
    assert await ask(port, "GET", "/sales?limit=1") == (200, {"items": [sale], "next": None})


async def test_the_documentation_needs_no_other_host(port: int) -> None:
    """Each route with its body, from this process alone; and no script, wherever it came from."""

    def read() -> tuple[int, str, str]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/docs")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.getheader("Content-Security-Policy", ""), text

    status, policy, text = await asyncio.to_thread(read)
    assert status == 200
    assert policy.startswith("default-src 'none'")
    assert not re.findall(r"<script|<link|<img|src=|@import|url\(|//", text)
    for shown in ("<b>POST</b> /sales", "/sales/{sale_id}", "buyer_email", "Idempotency-Key"):
        assert shown in text


async def test_each_answer_is_documented(port: int) -> None:
    """Refusals too, in the form that they have."""
    _, document = await ask(port, "GET", "/openapi.json")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                kind = "application/json" if status < "400" else "application/problem+json"
                assert list(answer["content"]) == [kind], (method, path, status)
                assert next(iter(answer["content"].values()))["schema"], (method, path, status)
            assert operation["responses"].keys() >= {"400", "408", "413", "422", "500", "503"}
            assert ("404" in operation["responses"]) is ("{" in path)
            assert ("409" in operation["responses"]) is (method == "post")
            assert ("415" in operation["responses"]) is ("requestBody" in operation)
            names = [each["name"] for each in operation.get("parameters", ())]
            assert ("Idempotency-Key" in names) is (method in {"post", "patch"})
    assert set(document["components"]["schemas"]["Problem"]["properties"]) >= {"detail", "errors"}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/sales", {}, 422),
        ("POST", "/sales", FORM | {"lines": []}, 422),
        ("POST", "/sales", FORM | {"currency": "euro"}, 422),
        ("GET", "/sales/not-a-uuid", None, 422),
        ("GET", "/sales?limit=101", None, 422),
        ("GET", "/sales/00000000-0000-0000-0000-000000000000", None, 404),
    ],
)
async def test_a_bad_request_is_refused_and_its_connection_given_back(
    service: Service, port: int, method: str, path: str, body: Any, expected: int
) -> None:
    """Nothing is written, and the pool is whole."""
    assert (await ask(port, method, path, body))[0] == expected
    assert await count(service, "outbox") == 0
    await eventually(lambda: connections_in_use(service) == 0)


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, ZeroDivisionError])
async def test_what_nobody_asked_for_is_answered_like_any_error(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """In the form of all refusals; afterwards requests are answered as before."""
    with monkeypatch.context() as patch:

        async def fail(*_: Any, **__: Any) -> None:
            raise error

        patch.setattr(Sales, "page", fail)
        status, answer = await ask(port, "GET", "/sales")
    assert (status, answer["status"], answer["detail"]) == (500, 500, FAILED)
    assert (await ask(port, "GET", "/sales"))[0] == 200
    assert connections_in_use(service) == 0


async def test_an_order_that_nobody_can_read_hides_no_other(service: Service, port: int) -> None:
    """The list has all others."""
    for _ in range(3):
        assert (await ask(port, "POST", "/sales", FORM))[0] == 202
    async with consuming(service):
        await service.relay.run_once()
        await eventually(lambda: settled(service, "done") == 3)
    ids = [str(each["id"]) for each in (await ask(port, "GET", "/sales"))[1]["items"]]
    await rows(service, f"UPDATE sales SET made_at = 'infinity' WHERE id = '{ids[1]}'")
    status, answer = await ask(port, "GET", "/sales")
    assert (status, {each["id"] for each in answer["items"]}) == (200, {ids[0], ids[2]})
    assert (await ask(port, "GET", f"/sales/{ids[0]}"))[0] == 200


# feature: row, rls, schema {
def of(tenant: object) -> dict[str, str]:
    """The headers of a request in the name of a tenant."""
    return {**HEADERS, "X-Tenant-ID": str(tenant)}


async def test_a_tenant_sees_its_own_orders_only(service: Service, port: int) -> None:
    """What another has is not there: no list shows it, and its id finds nothing."""
    register(service.settings.database_url, [ADA, BOB])
    sold = {}
    for tenant in (ADA, BOB):
        status, answer = await ask(port, "POST", "/sales", FORM, of(tenant))
        assert status == 202
        sold[tenant] = answer["sale_id"]

    async with consuming(service):
        await service.relay.run_once()
        await eventually(lambda: settled(service, "done") == 2)

    for tenant, another in ((ADA, BOB), (BOB, ADA)):
        status, page = await ask(port, "GET", "/sales", headers=of(tenant))
        assert (status, [each["id"] for each in page["items"]]) == (200, [sold[tenant]])
        path = f"/sales/{sold[tenant]}"
        assert (await ask(port, "GET", path, headers=of(str(tenant).upper())))[0] == 200
        assert (await ask(port, "GET", path, headers=of(another)))[0] == 404
    assert await ask(port, "GET", "/sales") == (200, {"items": [], "next": None})


@pytest.mark.parametrize("tenant", [None, "", "ada"])
async def test_a_request_for_no_tenant_is_refused(
    service: Service, port: int, tenant: str | None
) -> None:
    """The answer names the header; nothing is sent to PostgreSQL."""
    headers = {name: value for name, value in HEADERS.items() if name != "X-Tenant-ID"}
    headers |= {} if tenant is None else {"X-Tenant-ID": tenant}
    sent: list[Any] = []
    service.manager.observe(sent.append)
    for method, path, body in (("POST", "/sales", FORM), ("GET", "/sales", None)):
        status, answer = await ask(port, method, path, body, headers)
        assert status == 400
        said = f"{tenant!r} is no tenant" if tenant else "no tenant is named"
        assert answer["detail"].startswith(f"header X-Tenant-ID: {said}: a UUID is expected")
    assert sent == []


@pytest.mark.parametrize(
    ("path", "tenants", "expected"),
    [
        ("/sales", [TENANT], 200),
        ("/sales", [TENANT, ADA], 400),  # nobody knows which of the two was checked by whom
        ("/docs", [], 200),
        ("/openapi.json", [], 200),
        ("/elsewhere", [], 400),
    ],
)
async def test_a_request_names_one_tenant_unless_it_is_about_the_documentation(
    port: int, path: str, tenants: list[object], expected: int
) -> None:
    """Not two of them; and what is no path at all is no exception."""

    def exchange() -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.putrequest("GET", path)
        for tenant in tenants:
            connection.putheader("X-Tenant-ID", str(tenant))
        connection.putheader("Connection", "close")
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status

    assert await asyncio.to_thread(exchange) == expected


async def test_a_request_for_an_unknown_tenant_is_refused(service: Service, port: int) -> None:
    """Forbidden, with its id; nothing is written, and the pool is whole."""
    path = f"/sales/{NOBODY}"
    for method, where, body in (("POST", "/sales", FORM), ("GET", path, None)):
        status, answer = await ask(port, method, where, body, of(NOBODY))
        assert status == 403
        assert f"tenant {NOBODY} is not registered" in answer["detail"]
    assert await count(service, "outbox") == 0
    await eventually(lambda: connections_in_use(service) == 0)


# feature: row, rls, schema }
