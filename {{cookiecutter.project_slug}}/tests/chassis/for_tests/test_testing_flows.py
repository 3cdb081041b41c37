"""What a team tests its slices with: what follows from messages, the API, brokers, tenants."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID  # feature: row, rls, schema

import pytest

from acme_orders.chassis import testing
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice
from acme_orders.chassis.testing import ServiceUnderTest  # feature: row, rls, schema

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.for_tests.conftest import Open
from tests.chassis.for_tests.examples import (
    REGISTERED,
    SCANNED,  # feature: http_api
    Make,
    slice_of,
)
from tests.chassis.slices.parcels.messages import (
    ParcelMoved,  # feature: row, rls, schema
    ParcelRegistered,
)


def registering(*, endless: bool) -> Make:
    """A slice that sends itself a lighter parcel for each parcel, or the same one for ever."""

    async def send(chassis: Chassis[Any], parcel: ParcelRegistered) -> None:
        if endless or parcel.weight_grams > 1:
            grams = 1 if endless else parcel.weight_grams - 1
            lighter = parcel.model_copy(update={"weight_grams": grams})
            await chassis.outbox.add("parcel.registered", lighter)

    return slice_of(send, publishes=(Event("parcel.registered", ParcelRegistered),))


async def test_drain_goes_to_the_end(open_service: Open) -> None:
    """What a message leads to, and what that leads to; `process` alone does the first step."""
    async with open_service(registering(endless=False)) as service:
        await service.process(REGISTERED.model_copy(update={"weight_grams": 3}))
        assert [each.weight_grams for each in service.published(ParcelRegistered)] == [2]
        assert [each.status for each in await service.drain()] == ["done", "done"]
        assert [each.weight_grams for each in service.published(ParcelRegistered)] == [2, 1]
        assert await service.drain() == []


async def test_drain_gives_up_where_there_is_no_end(open_service: Open) -> None:
    """It says which message leads to itself."""
    async with open_service(registering(endless=True)) as service:
        await service.process(REGISTERED)
        with pytest.raises(RuntimeError, match=r"'parcel.registered' still leads to new messages"):
            await service.drain()


async def test_many_at_once_go_to_the_handler_of_many(open_service: Open) -> None:
    """And a single one does not."""
    asked: list[int] = []

    async def one(parcel: ParcelRegistered) -> None:
        asked.append(1)

    async def many(received: Sequence[Any]) -> None:
        asked.append(len(received))

    def make(chassis: Chassis[Any]) -> Slice:
        handler = Handler(ParcelRegistered, one, many)
        return Slice("many", handlers={"parcel.registered": handler})

    async with open_service(make) as service:
        await service.process(REGISTERED)
        await service.process_all([service.message(REGISTERED) for _ in range(3)])
    assert asked == [1, 3]


async def test_no_broker_is_used_whatever_the_settings_say(settings: ChassisSettings) -> None:
    """A test that forgets it must not reach the queues of others."""
    elsewhere = settings.model_copy(update={"broker_url": "amqp://nobody:x@localhost:1/none"})
    async with testing.service(
        Definition("post", "Post", ChassisSettings, ()),
        elsewhere,
        tenant=TENANT,  # feature: row, rls, schema
    ) as service:
        assert await service.drain() == []


# feature: http_api {
async def test_a_bug_of_the_api_is_raised(open_service: Open) -> None:
    """Like one that a test calls itself; whatever is asked for arrives."""
    from fastapi import APIRouter, Request

    def routes() -> APIRouter:
        router = APIRouter(prefix="/parcels")

        @router.post("/{name}")
        async def show(name: str, request: Request, much: int = 0) -> dict[str, Any]:
            return {
                "name": name,
                "much": 1 // much,
                "sent": await request.json(),
                "key": request.headers["x-key"],
            }

        return router

    async with open_service(lambda _: Slice("one", routes=routes)) as service:
        headers = {"X-Key": "grün"}
        path = "/parcels/a%20b?much=1"
        answer = await service.request("POST", path, SCANNED, headers=headers)
        assert answer.status == 200
        assert (answer.json["name"], answer.json["much"]) == ("a b", 1)
        assert answer.json["sent"]["depot"] == "HAM"
        assert answer.json["key"] == "grün"
        assert answer.headers["content-type"] == "application/json"
        with pytest.raises(ZeroDivisionError):
            await service.request("POST", "/parcels/x", {}, headers=headers)
        assert (await service.request("GET", "/nowhere")).status == 404


# feature: http_api }
# feature: row, rls, schema {
async def test_tenants_are_told_apart(post: ServiceUnderTest) -> None:
    """In messages and events; one that is not registered is refused as in production."""
    ada = post.of(UUID(int=0xADA))
    outcome = await ada.process(REGISTERED)
    assert (outcome.status, outcome.reason) == ("dead_lettered", "unknown_tenant")
    message = post.message(REGISTERED, identity="1")
    assert (await post.process(message)).status == "done"
    assert len(post.published(ParcelMoved)) == 1
    assert ada.published(ParcelMoved) == []


# feature: row, rls, schema }
