# feature: http_api
"""Requests with an Idempotency-Key, to slices that say nothing about it, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import (
    UUID,  # feature: row, rls, schema
    uuid4,
)

import pytest
from fastapi import APIRouter

from acme_orders.chassis.process.exchange import exchange
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.slice import Chassis, Slice

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import Connect, count, eventually, rows
from tests.chassis.integration.asking import FORM, ask
from tests.chassis.integration.odd_routes import Odd
from tests.chassis.retention.test_own import passed
from tests.chassis.tenancy.several import ADA, BOB, register  # feature: row, rls, schema


class Slow:
    """A route that goes on when it is told to."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    def slice(self, _: Chassis[Any]) -> Slice:
        """The slice that has it."""
        router = APIRouter()

        @router.post("/slow")
        async def answer() -> str:
            self.began.set()
            await self.go_on.wait()
            return str(uuid4())

        return Slice("slow", routes=lambda: router)


@pytest.fixture
def slow() -> Slow:
    """It waits."""
    return Slow()


@pytest.fixture
async def service(connect: Connect, slow: Slow) -> AsyncIterator[Service]:
    """The service in memory, with two more slices."""

    def odd(chassis: Chassis[Any]) -> Slice:
        return Slice("odd", routes=Odd(chassis.manager, chassis.outbox).router)

    async with connect(odd, slow.slice, lock_timeout=20) as connected:
        yield connected


async def test_a_request_that_comes_again_gets_its_answer_again(
    service: Service, port: int
) -> None:
    """Byte for byte; another key is another request, and so is none."""
    first = await ask(port)
    assert first.status == 202
    assert await ask(port) == first
    assert await count(service, "outbox") == 1
    others = [await ask(port, key="two"), await ask(port, key=None), await ask(port, key=None)]
    assert len({each.body for each in (first, *others)}) == 4
    assert await count(service, "outbox") == 4


async def test_two_that_come_at_once_are_one(service: Service, port: int) -> None:
    """One effect, one answer."""
    answers = await asyncio.gather(ask(port), ask(port))
    assert {(each.status, each.body) for each in answers} == {(202, answers[0].body)}
    assert await count(service, "outbox") == 1


async def test_who_waits_too_long_for_the_first_is_told_to_come_again(
    connect: Connect, slow: Slow
) -> None:
    """409 while the first is at work, for longer than a lock is waited for; later its answer."""
    headers = {"Idempotency-Key": "one"}
    headers |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
    async with connect(slow.slice, lock_timeout=0.5) as service:
        post = partial(exchange, service, "POST", "/slow", {}, headers)
        first = asyncio.create_task(post())
        await slow.began.wait()
        second = await post()
        assert (second.status, second.headers["retry-after"]) == (409, "5")
        slow.go_on.set()
        assert (await first).status == 200
        assert await post() == await first


async def test_only_one_waits_for_the_first(service: Service, port: int, slow: Slow) -> None:
    """Others are told at once to come again: no key takes all places, nor those of a tenant."""
    url, post = service.settings.database_url, partial(ask, port, "/slow")
    # feature: row, rls, schema {
    register(url, [BOB])
    other = asyncio.create_task(post(X_Tenant_ID=str(BOB)))
    await slow.began.wait()
    slow.began.clear()
    # feature: row, rls, schema }
    first = asyncio.create_task(post())
    await slow.began.wait()
    second = asyncio.create_task(post())
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    waiting = f"{mine} AND wait_event_type = 'Lock'"
    await eventually(lambda: rows_of(url, waiting) == [(1,)])
    told = await asyncio.gather(post(), post())
    assert not second.done()
    assert {(each.status, each.headers.get("retry-after")) for each in told} == {(409, "5")}
    slow.go_on.set()
    assert (await first).status == 200
    assert await second == await post() == await first
    assert (await other).body != (await first).body  # feature: row, rls, schema


@pytest.mark.parametrize(
    ("path", "body"),
    [("/sales", FORM | {"currency": "USD"}), ("/sales?x=1", FORM), ("/odd/nothing", FORM)],
)
async def test_a_key_belongs_to_one_request(
    service: Service, port: int, path: str, body: Any
) -> None:
    """Another one is refused, and the first keeps its answer."""
    first = await ask(port)
    other = await ask(port, path, body)
    assert (other.status, other.headers["content-type"]) == (409, "application/problem+json")
    assert [each["field"] for each in other.json["errors"]] == ["Idempotency-Key"]
    assert await ask(port) == first
    assert await count(service, "outbox") == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "ü", "\t"])
async def test_what_is_no_key_is_refused(service: Service, port: int, key: str) -> None:
    """With what is allowed; nothing is done."""
    answer = await ask(port, key=key)
    assert answer.status == 400
    assert "1 to 255 visible ASCII characters" in answer.json["detail"]
    assert await count(service, "outbox") == 0


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/nowhere", 404), ("PATCH", "/sales", 405)]
)
async def test_what_no_route_takes_has_no_key(
    service: Service, port: int, method: str, path: str, status: int
) -> None:
    """It is refused without a look at the key, and without a statement."""
    await ask(port)
    sent: list[Any] = []
    service.manager.observe(sent.append)
    assert (await ask(port, path, method=method)).status == status
    assert sent == []


async def test_a_refused_body_may_be_corrected_under_the_same_key(
    service: Service, port: int
) -> None:
    """A refusal without an effect is not kept."""
    assert (await ask(port, body={})).status == 422
    assert (await ask(port)).status == 202
    assert await count(service, "outbox") == 1


@pytest.mark.parametrize(
    ("path", "status", "events"),
    [
        ("twice", 200, 2),
        ("caught", 200, 1),
        ("refused?effect=true", 409, 1),
        ("refused?effect=false", 409, 0),
        ("serializable", 200, 1),
        ("run", 201, 1),
        ("nothing", 204, 0),
    ],
)
async def test_all_that_a_route_does_is_done_once(
    service: Service, port: int, path: str, status: int, events: int
) -> None:
    """However many transactions it has, and of whatever kind; as without a key."""
    assert (await ask(port, f"/odd/{path}", key=None)).status == status
    assert await count(service, "outbox") == events
    first = await ask(port, f"/odd/{path}")
    assert first.status == status
    assert await ask(port, f"/odd/{path}") == first
    assert await count(service, "outbox") == 2 * events
    if path == "serializable":
        assert first.json == "serializable"


async def test_what_failed_is_done_anew(service: Service, port: int) -> None:
    """An error after the effect undoes it, so that the client may ask again, and again."""
    for _ in range(3):
        assert (await ask(port, "/odd/late")).status == 500
        assert await count(service, "outbox") == 0
        assert await count(service, "idempotency_keys") == 0


@pytest.mark.parametrize("path", ["outside", "reading"])
@pytest.mark.parametrize("key", ["one", None])
async def test_a_key_hides_no_bug(service: Service, port: int, path: str, key: str | None) -> None:
    """What is refused without a key is refused with one."""
    assert (await ask(port, f"/odd/{path}", key=key)).status >= 500
    assert await count(service, "outbox") == 0


async def test_other_methods_that_change_something_have_keys_too(
    service: Service, port: int
) -> None:
    """PATCH."""
    first = await ask(port, "/odd/patched", method="PATCH")
    assert await ask(port, "/odd/patched", method="PATCH") == first
    assert await count(service, "outbox") == 1


# feature: row, rls, schema {
async def test_a_key_is_one_of_its_tenant(service: Service, port: int) -> None:
    """Two tenants that choose the same one do not meet."""
    register(service.settings.database_url, [ADA, BOB])
    answers = [await ask(port, X_Tenant_ID=str(each)) for each in (ADA, BOB)]
    assert [each.status for each in answers] == [202, 202]
    assert answers[0].body != answers[1].body
    assert await count(service, "outbox") == 2
    assert (await ask(port, X_Tenant_ID=str(UUID(int=99)))).status == 403


# feature: row, rls, schema }
async def test_answers_are_kept_as_long_as_messages_are_known(connect: Connect) -> None:
    """A client may ask again as late as a producer may send again."""
    window, margin = 7200.0, 300.0
    async with connect(inbox_retention=window, inbox_margin=margin) as service:
        url = service.settings.database_url
        for key, age in (("young", window + margin - 60), ("old", window + margin + 60)):
            more = {"Idempotency-Key": key}
            more |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
            assert (await exchange(service, "POST", "/sales", FORM, more)).status == 202
            aged = "UPDATE idempotency_keys SET created_at = now() - make_interval(secs => %s)"
            rows_of(url, f"{aged} WHERE key = %s", (age, key))
        assert set(passed(service).values()) == {"ok"}
        assert rows_of(url, "SELECT key FROM idempotency_keys") == [("young",)]


async def test_connections_are_given_back(service: Service, port: int) -> None:
    """Whatever became of the request."""
    await asyncio.gather(ask(port), ask(port), ask(port, "/odd/late"), ask(port, body={}, key="2"))
    value = service.metrics.registry.get_sample_value
    await eventually(lambda: value("db_client_connections", {"state": "used"}) == 0)
    assert await rows(service, "SELECT 1") == [(1,)]
