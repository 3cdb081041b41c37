# feature: http_api
"""A refusal that a route can give is in its part of the OpenAPI document, with its headers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter

from acme_orders.chassis.http.explained import Problem
from acme_orders.chassis.http.problem import Refused
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.exchange import Reply, exchange
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Slice
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import PROJECT, Connect, impatient
from tests.chassis.integration.asking import FORM
from tests.chassis.service import SERVICE

ID = "00000000-0000-0000-0000-000000000000"
HEADERS: dict[str, str] = {}
HEADERS |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
BEARER = {"WWW-Authenticate": "Bearer"}
SMALL = 1024  # bytes


class Documented:
    """The routes of a service, and what its document says of them."""

    def __init__(self, service: Service, document: Any) -> None:
        self._service, self._document = service, document

    @classmethod
    async def by(cls, service: Service) -> "Documented":
        """As a client gets it."""
        return cls(service, (await exchange(service, "GET", "/openapi.json", None, {})).json)

    async def refuses(
        self, status: int, *, query: str = "", body: Any = FORM, only: str = "", **more: str
    ) -> list[Reply]:
        """Ask each route, and compare what it answers with what it is said to answer.

        Args:
            status: of each answer.
            query: of each request.
            body: of those that take one.
            only: `requestBody`, or another part of an operation that a route must have.
            more: headers.
        """
        found = []
        headers = HEADERS | {name.replace("_", "-"): text for name, text in more.items()}
        for path, methods in self._document["paths"].items():
            for method, told in methods.items():
                if only and only not in told:
                    continue
                where = f"{path.format(sale_id=ID)}{query}"
                content = body if "requestBody" in told or status == 413 else None
                reply = await exchange(self._service, method.upper(), where, content, headers)
                assert reply.status == status, (method, path, reply)
                self.has(method, path, reply)
                found.append(reply)
        assert found
        return found

    def has(self, method: str, path: str, reply: Reply) -> None:
        """This answer."""
        told = self._document["paths"][path][method]["responses"][str(reply.status)]
        schema = told["content"][reply.headers["content-type"]]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
        Problem.model_validate_json(reply.body, strict=True)
        headers = {name.lower(): each["required"] for name, each in told.get("headers", {}).items()}
        given = reply.headers.keys() - {"content-type", "content-length"}
        assert given <= headers.keys(), (method, path, reply)
        assert {name for name, required in headers.items() if required} <= given


@pytest.fixture
async def documented(connect: Connect) -> AsyncIterator[Documented]:
    """With little room."""
    async with connect(max_body_bytes=SMALL) as service:
        yield await Documented.by(service)


async def test_what_is_wrong_with_a_request(documented: Documented) -> None:
    """Too large, of another kind, or not of its form; on each route that can be asked so."""
    await documented.refuses(413, body=FORM | {"note": "x" * SMALL})
    await documented.refuses(415, only="requestBody", content_type="text/plain")
    await documented.refuses(422, only="requestBody", body={})
    await documented.refuses(422, query="?a=%00")


async def test_what_is_not_possible_now(connect: Connect) -> None:
    """Each route needs a connection, and somebody else has the only one."""
    async with connect(pool_size=1) as service:
        documented = await Documented.by(service)
        impatient(service.manager, 0.2)

        @in_system_scope("the connection is held")  # feature: row, rls, schema
        async def refused() -> list[Reply]:
            async with service.manager.transaction("held"):
                return await documented.refuses(503)

        assert {each.headers["retry-after"] for each in await refused()} == {"5"}


@pytest.mark.parametrize(("status", "headers"), [(401, BEARER), (403, {})])
async def test_who_is_not_let_in(
    settings: ChassisSettings,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
) -> None:
    """By a guard, in front of each route."""
    monkeypatch.chdir(PROJECT)

    async def admit(_: object) -> None:
        raise Refused(status, "not you", "stranger", headers=headers)

    guard = SimpleNamespace(scheme={"type": "http", "scheme": "bearer"}, admit=admit)
    definition = replace(SERVICE, guard=lambda _: guard)
    async with connected(definition, settings, Metrics()) as service:
        await (await Documented.by(service)).refuses(status)


async def test_a_key_that_is_taken(connect: Connect) -> None:
    """By a request that is at work, which will be over, or by another one for ever."""
    began, go_on = asyncio.Event(), asyncio.Event()

    def routes() -> APIRouter:
        router = APIRouter()

        @router.post("/slow")
        async def slow() -> str:
            began.set()
            await go_on.wait()
            return "done"

        return router

    async with connect(lambda _: Slice("slow", routes=routes), lock_timeout=0.5) as service:
        documented, headers = await Documented.by(service), HEADERS | {"Idempotency-Key": "one"}
        first = asyncio.create_task(exchange(service, "POST", "/slow", {}, headers))
        await began.wait()
        at_work = await exchange(service, "POST", "/slow", {}, headers)
        go_on.set()
        assert (await first).status == 200
        other = await exchange(service, "POST", "/slow?another", {}, headers)
    for reply, later in ((at_work, True), (other, False)):
        assert (reply.status, "retry-after" in reply.headers) == (409, later)
        documented.has("post", "/slow", reply)
