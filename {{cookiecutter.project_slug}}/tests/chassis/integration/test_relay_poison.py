"""An event that no broker takes is set aside, and hurts no other."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from acme_orders.chassis.errors import Unpublishable
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.rabbitmq import publisher
from acme_orders.chassis.rabbitmq.properties import Encoded, encoded
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from dev.rabbitmq import RabbitMQ
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import Connect, count, eventually, rows
from tests.chassis.integration.dead_letter_queue import replayed
from tests.chassis.integration.outbox_events import (
    HEARD,
    POISON,
    Step,
    add,
    is_empty,
    listen,
    many,
    metric,
    numbers,
    relays,
)

STRANGE = '{"n": 1.5, "i": 7, "no": null, "in": {"a": [1, {"b": false}]}, "grün": "ß", "id": "x"}'
SET_ASIDE = "SELECT reason, outgoing, attempts, state, error_message FROM dead_letters"


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on a real RabbitMQ."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


async def spoil(service: Service, number: int, columns: dict[str, str]) -> None:
    """Change the event with this number."""
    changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
    where = f"body LIKE '%:{number}}}'"
    assert await rows(service, f"UPDATE outbox SET {changes} WHERE {where} RETURNING 1")


async def waiting(service: Service, how_many: int) -> bool:
    """Whether so many dead letters wait."""
    return await count(service, "dead_letters WHERE state = 'waiting'") == how_many


async def test_poison_of_all_kinds_among_good_events(service: Service) -> None:
    """Each good one arrives once; each bad one is set aside, at once, with its reason."""
    heard = await listen(service, HEARD)
    await add(service, *many(HEARD, 200), ordered=False)
    for number, columns in enumerate(POISON.values(), start=20):
        await spoil(service, number * 2, columns)
    await spoil(service, 5, {"extensions": f"'{STRANGE}'"})  # AMQP has a form for this
    async with relays(service, 2):
        await eventually(lambda: is_empty(service))
    await eventually(lambda: len(heard) >= 200 - len(POISON))
    bad = {number * 2 for number in range(20, 20 + len(POISON))}
    assert sorted(numbers(heard, HEARD)) == sorted({*range(200)} - bad)
    kept = await rows(service, SET_ASIDE)
    assert [each[:4] for each in kept] == [("unpublishable", True, 1, "waiting")] * len(POISON)
    assert all(error for *_, error in kept)
    assert metric(service, "outbox_set_aside_total") == len(POISON)
    assert metric(service, "broker_reconnects_total") == 0


@pytest.mark.parametrize("kind", POISON)
async def test_one_that_was_mended_is_published(service: Service, kind: str) -> None:
    """Under its message id; what is not mended comes back, counted as a replay."""
    heard = await listen(service, HEARD)
    await add(service, (HEARD, "any", 7))
    ((message_id,),) = await rows(service, "SELECT message_id::text FROM outbox")
    await spoil(service, 7, POISON[kind])
    async with relays(service):
        await eventually(lambda: waiting(service, 1))
        ((identity,),) = await rows(service, "SELECT id::text FROM dead_letters")
        await replayed(service, UUID(identity))
        await eventually(lambda: waiting(service, 1))
        ((identity, replays),) = await rows(
            service, "SELECT id::text, replays FROM dead_letters WHERE state = 'waiting'"
        )
        assert replays == 1
        body = json.dumps({"key": "any", "number": 7})
        await rows(
            service,
            f"UPDATE dead_letters SET type = '{HEARD}', headers = '{{}}', body = '{body}', "
            f"body_bytes = {len(body)}, "
            """properties = properties || '{"created_at": "2026-01-31T12:00:00Z"}' """
            f"WHERE id = '{identity}'",
        )
        await replayed(service, UUID(identity))
        await eventually(lambda: heard)
        await eventually(lambda: is_empty(service))
    assert [(each.id, each.number) for each in heard] == [(message_id, 7)]
    assert await rows(service, "SELECT DISTINCT state FROM dead_letters") == [("replayed",)]


async def test_one_that_ends_the_connection_is_found(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has seen it coming: RabbitMQ closes the connection, with all others under way."""

    def careless(message: Message, *, routing_key: str, frame_max: int) -> Encoded:
        return encoded(message, routing_key=routing_key, frame_max=0)

    monkeypatch.setattr(publisher, "encoded", careless)
    heard = await listen(service, HEARD)
    await add(service, *many(HEARD, 200), ordered=False)
    await spoil(service, 150, POISON["a header larger than a frame"])
    async with relays(service):
        await eventually(lambda: is_empty(service))
    await eventually(lambda: {*numbers(heard, HEARD)} == {*range(200)} - {150})
    assert [each[:4] for each in await rows(service, SET_ASIDE)] == [
        ("unpublishable", True, 3, "waiting")
    ]
    assert metric(service, "broker_reconnects_total") == 1  # the others had theirs back for good


async def test_one_that_ends_the_channel_is_found(connect: Connect) -> None:
    """RabbitMQ takes messages up to a size that nobody is told."""
    with RabbitMQ() as server:
        server.ctl("eval", "application:set_env(rabbit, max_message_size, 100000).")
        async with connect(broker_url=server.url) as service:
            heard = await listen(service, HEARD)
            await add(service, *many(HEARD, 200), ordered=False)
            await spoil(service, 150, {"body": "repeat('x', 200000)"})
            async with relays(service):
                await eventually(lambda: is_empty(service))
            await eventually(lambda: {*numbers(heard, HEARD)} == {*range(200)} - {150})
            ((*kept, error),) = await rows(service, SET_ASIDE)
    assert kept == ["unpublishable", True, 3, "waiting"]
    assert "larger than configured max size" in error


SEVEN: Any = 7
DICTIONARY: Any = {"key": "a"}
REFUSED: dict[str, Callable[[Outbox], Awaitable[UUID]]] = {
    "an empty type": lambda outbox: outbox.add("", Step(key="a", number=1)),
    "a type that is too long": lambda outbox: outbox.add("t" * 256, Step(key="a", number=1)),
    "a type of too many bytes": lambda outbox: outbox.add("ü" * 128, Step(key="a", number=1)),
    "NUL in the type": lambda outbox: outbox.add("a\x00", Step(key="a", number=1)),
    "half a surrogate pair": lambda outbox: outbox.add("\ud800", Step(key="a", number=1)),
    "a type that is no text": lambda outbox: outbox.add(SEVEN, Step(key="a", number=1)),
    "an empty key": lambda outbox: outbox.add(HEARD, Step(key="a", number=1), key=""),
    "a key that is too long": lambda outbox: outbox.add(
        HEARD, Step(key="a", number=1), key="k" * 256
    ),
    "NUL in the key": lambda outbox: outbox.add(HEARD, Step(key="a", number=1), key="\x00"),
    "a dictionary": lambda outbox: outbox.add(HEARD, DICTIONARY),
    "no JSON": lambda outbox: outbox.add(HEARD, Step(key="\ud800", number=1)),
    "a body that is too large": lambda outbox: outbox.add(HEARD, Step(key="x" * 2**20, number=1)),
    "a body of too many bytes": lambda outbox: outbox.add(HEARD, Step(key="ü" * 2**19, number=1)),
    "a correlation id": lambda outbox: outbox.add(
        HEARD, Step(key="a", number=1), correlation_id="x" * 200_000
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_can_never_be_published_is_refused_at_once(connect: Connect, what: str) -> None:
    """Where somebody can see which line of code it was; the transaction is still good."""
    async with connect() as service:
        outbox = next(each for each in service.repositories if isinstance(each, Outbox))

        async def unit() -> None:
            work_for(TENANT)  # feature: row, rls, schema
            async with service.manager.transaction("test"):
                await outbox.add(HEARD, Step(key="good", number=1))
                with pytest.raises(Unpublishable):
                    await REFUSED[what](outbox)

        await asyncio.create_task(unit())
        assert await count(service, "outbox") == 1
