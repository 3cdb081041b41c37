"""A dead letter becomes a test: red before the mistake is mended, green afterwards."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from acme_orders.chassis.cli.reproduce import reproduced
from acme_orders.chassis.dead_letters.record import DeadLetter, read
from acme_orders.chassis.errors import Malformed, ServiceError, TryLater
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema
from acme_orders.chassis.testing import ServiceUnderTest

from dev.databases import Databases
from tests.chassis.for_tests.conftest import Open, make_tables
from tests.chassis.for_tests.examples import DELIVERED, REGISTERED, SCANNED, Make
from tests.chassis.slices.parcels.messages import (
    PARCEL_DELIVERED,
    PARCEL_REGISTERED,
    ParcelClosed,
    ParcelDelivered,
)
from tests.chassis.slices.parcels.models import Depot
from tests.chassis.slices.parcels.repository import Parcels
from tests.chassis.slices.parcels.slice import parcels
from tests.conftest import server

WHO, WHAT = "Ada Lovelace", "letters to Mr Babbage"
SERVICE = "from acme_orders.service import SERVICE"
SIGNED = DELIVERED.model_copy(update={"signature": WHO})


class Broken(Exception):
    """What is to be mended."""


def broken(chassis: Chassis[Any]) -> Slice:
    """Parcels, of which those cannot be delivered that were seen in a depot."""
    made, repository = parcels(chassis), Parcels(chassis.manager)
    handler = made.handlers[PARCEL_DELIVERED]

    async def deliver(parcel: ParcelDelivered) -> None:
        standing = await repository.standing(parcel.parcel_id)
        if standing and standing.scans:
            raise Broken
        await handler.handle(parcel)

    handlers = {**made.handlers, PARCEL_DELIVERED: replace(handler, handle=deliver)}
    return replace(made, handlers=handlers)


def letter_of(service: ServiceUnderTest, content: Any, type_: str) -> DeadLetter:
    """What is kept of a message that was set aside."""
    return read(service.message(content, type_=type_), largest_body=1000)


@in_system_scope("test")  # feature: row, rls, schema
async def written(service: ServiceUnderTest, letter: DeadLetter) -> tuple[str, list[str]]:
    """The test that it becomes."""
    return await reproduced(service.running, letter)


@pytest.fixture
def elsewhere(settings: ChassisSettings, migrated: str) -> Iterator[ChassisSettings]:
    """Those of the tests of a slice: a database of their own, with nothing in it."""
    databases = Databases(server("DATABASE_URL"))
    url = databases.create(template=migrated)
    make_tables(url, "parcels")
    yield settings.model_copy(update={"database_url": url})
    databases.drop(url)


async def run(text: str, make: Make, settings: ChassisSettings) -> None:
    """Run the only test in it against a service of this slice."""
    names: dict[str, Any] = {"SERVICE": Definition("post", "Post", ChassisSettings, (make,))}
    exec(compile(text.replace(SERVICE, ""), "test_dead_letter.py", "exec"), names)
    (test,) = (each for name, each in names.items() if name.startswith("test_"))
    await test(settings)


async def test_it_is_red_and_then_green(open_service: Open, elsewhere: ChassisSettings) -> None:
    """Because of rows that the handler looks at; nothing of anybody is in it."""
    async with open_service(broken, tables="parcels") as post:
        named = REGISTERED.contents[0].model_copy(update={"name": WHAT})
        await post.process(REGISTERED.model_copy(update={"contents": (named,)}))
        await post.process(SCANNED)
        text, notes = await written(post, letter_of(post, SIGNED, PARCEL_DELIVERED))
    assert notes == [
        "here it fails: Broken",
        "rows: 1 of depots, 1 of parcels, 1 of parcel_scans",
    ]
    for each in (WHO, *WHAT.split()[2:], "tea"):
        assert each not in text
    with pytest.raises(Broken):
        await run(text, broken, elsewhere)
    await run(text, parcels, elsewhere)


async def test_without_its_rows_it_would_say_something_else(
    open_service: Open, elsewhere: ChassisSettings
) -> None:
    """So the rows are what makes it red."""
    async with open_service(broken, tables="parcels") as post:
        text, notes = await written(post, letter_of(post, SIGNED, PARCEL_DELIVERED))
    assert notes == ["here it fails: TryLater", "rows: none"]
    with pytest.raises(TryLater):
        await run(text, broken, elsewhere)


async def test_to_try_it_does_nothing(open_service: Open) -> None:
    """What is processed then is processed for the first time."""
    async with open_service(parcels, tables="parcels") as post:
        await post.process(REGISTERED)
        message = post.message(SIGNED)
        _, notes = await written(post, read(message, largest_body=1000))
        assert "would be processed now" in notes[0]
        assert await post.drain() == []
        assert post.published(ParcelClosed) == []
        assert (await post.process(message)).status == "done"
        assert len(post.published(ParcelClosed)) == 1


async def test_what_nobody_can_read_needs_no_rows(
    open_service: Open, elsewhere: ChassisSettings
) -> None:
    """It is red until the payload takes it; a code in it stays, as its depot is not personal."""
    async with open_service(parcels, tables="parcels") as post:
        await post.process(REGISTERED)
        body = {**REGISTERED.model_dump(mode="json"), "weight_grams": 0, "sender": WHO}
        text, notes = await written(post, letter_of(post, body, PARCEL_REGISTERED))
        light, _ = await written(post, letter_of(post, {**body, "weight_grams": 1}, "parcel.lost"))
        known, _ = await written(
            post, letter_of(post, {**body, "weight_grams": 1}, PARCEL_REGISTERED)
        )
    assert notes == ["here it fails: Malformed", "rows: none"]
    assert WHO not in text + light + known
    assert '"depot": "BER"' in known
    with pytest.raises(Malformed):
        await run(text, parcels, elsewhere)


async def test_what_would_still_tell_of_somebody_is_not_written(open_service: Open) -> None:
    """A column that is said to be harmless has what another one hides."""
    async with open_service(parcels, tables="parcels") as post:
        await post.process(REGISTERED)
        await post.process(SIGNED)
        async with post.transaction():
            await post.manager.execute(Depot.update(city=WHO))
        with pytest.raises(ServiceError, match=r"parcels\.signature would stand in depots\.city"):
            await written(post, letter_of(post, SIGNED, PARCEL_DELIVERED))


@pytest.mark.parametrize(
    ("letter", "says"),
    [
        ({"outgoing": True}, "an event of ours"),
        ({"type": None}, "has no type"),
        ({"body_bytes": 10**6}, "too large to be kept"),
        ({"body": b"{", "body_bytes": 1}, "because of its body"),
        ({"body": b"[]", "body_bytes": 2}, "no object"),
    ],
)
async def test_where_no_handler_is_asked_there_is_no_test(
    post: ServiceUnderTest, letter: dict[str, Any], says: str
) -> None:
    """It says why."""
    found = replace(letter_of(post, SIGNED, PARCEL_DELIVERED), **letter)
    with pytest.raises(ServiceError, match=says):
        await written(post, found)
