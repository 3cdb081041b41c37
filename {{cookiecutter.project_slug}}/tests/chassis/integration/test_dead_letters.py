"""What was set aside is kept in PostgreSQL, whatever it contains, and can be replayed."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from acme_orders.chassis.dead_letters import archiver
from acme_orders.chassis.dead_letters.record import DeadLetter, read
from acme_orders.chassis.dead_letters.replay import Outcome
from acme_orders.chassis.dead_letters.store import DeadLetters, Selection, State
from acme_orders.chassis.errors import DatabaseUnavailable
from acme_orders.chassis.messaging.attributes import REPLAYS
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, consuming, count, eventually, rows, send, settled, sold
from tests.chassis.integration.dead_letter_queue import (
    archived,
    archiving,
    drained,
    failed,
    grown,
    identity_of,
    looked_up,
    replayed,
    set_aside,
)
from tests.chassis.slices.sales.messages import SALE_MADE

KEPT = "SELECT id::text, reason, type, message_id, queue, state, replays FROM dead_letters"


@pytest.fixture(params=["memory", "rabbitmq"])
async def service(request: pytest.FixtureRequest, connect: Connect) -> AsyncIterator[Service]:
    """The service on either broker."""
    url = "memory://" if request.param == "memory" else request.getfixturevalue("broker_url")
    async with connect(broker_url=url) as connected:
        yield connected


@pytest.fixture
async def rabbit(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on RabbitMQ."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


async def test_a_dead_letter_is_stored_with_its_reason(service: Service) -> None:
    """And its queue is empty afterwards."""
    message = failed()
    await archived(service, message)
    ((identity, *kept),) = await rows(service, KEPT)
    assert identity == message.headers["dl-id"]
    queue = service.topology.main.name
    assert kept == ["refused", SALE_MADE, message.message_id, queue, "waiting", 0]
    ((error, attempts, at, body),) = await rows(
        service, "SELECT error_message, attempts, failed_at::text, body FROM dead_letters"
    )
    assert (error, attempts, bytes(body)) == ("closed on Sundays", 3, message.body)
    assert datetime.fromisoformat(at) == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert await service.broker.count(service.topology.dead_letters.name) == 0
    value = service.metrics.registry.get_sample_value
    assert value("dead_letters_archived_total", {"reason": "refused"}) == 1


async def test_copies_of_one_failure_are_one_row(service: Service) -> None:
    """A crash between confirm and ack leaves two; those without our id have the same id too."""
    ours, foreign = failed(), sold()
    async with archiving(service):
        await set_aside(service, ours, foreign, ours, foreign, failed())
        await eventually(lambda: grown(service, 3))
        await eventually(lambda: drained(service))
    assert await count(service, "dead_letters") == 3


NASTY: list[dict[str, Any]] = [
    {"message_id": "a\x00b", "type": "\x00", "app_id": "\x00"},
    {"headers": {"a\x00b": "\x00", "dl-reason": "\x00", "dl-id": "no id", "dl-failed-at": "soon"}},
    {"headers": {"dl-attempts": -1, REPLAYS: 2**40, "dl-queue": 7, "dl-reason": {"a": 1}}},
    {"headers": {f"h-{number}": "x" * 200 for number in range(400)}},
    {
        "headers": {
            "x-death": "mine",
            "nested": [[["\x00"]], {"a": bytearray(b"\xff\x00")}],
            "no": None,
        }
    },
    {"headers": {"x-death": [7, {"reason": "\x00", "queue": 1, "time": "x"}]}},
    {"body": b"\x00\xff" * 1000, "message_id": None, "type": None},
    {"body": b""},
]


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
async def test_nothing_in_a_message_stops_the_archiver(
    service: Service, nasty: Mapping[str, Any]
) -> None:
    """It is stored, and so are those around it."""
    await archived(service, failed(), replace(failed(), **nasty), failed())
    assert await drained(service)
    kept = await rows(service, "SELECT length(body) FROM dead_letters")
    assert (len(nasty.get("body", sold().body)),) in kept
    assert await count(service, "dead_letters WHERE properties = '{}'") == 0  # none was stripped


async def test_what_postgresql_refuses_is_stored_without_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If something slips through, the body is kept at least, and the neighbours are whole."""

    def careless(message: Message, *, largest_body: int) -> DeadLetter:
        found = read(message, largest_body=largest_body)
        return replace(found, type="\x00") if message.body == b"bad" else found

    monkeypatch.setattr(archiver, "read", careless)
    async with connect() as service:
        await archived(service, failed(), failed(body=b"bad"), failed())
        kept = await rows(service, "SELECT reason, body = 'bad' FROM dead_letters ORDER BY 1")
    assert kept == [("refused", False), ("refused", False), ("unknown", True)]


async def test_an_outage_loses_nothing(rabbit: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stored is held, and not acknowledged."""
    store, outages = DeadLetters.archive, [DatabaseUnavailable("away")] * 2

    async def failing(self: DeadLetters, letters: Any) -> Any:
        if outages:
            raise outages.pop()
        return await store(self, letters)

    monkeypatch.setattr(DeadLetters, "archive", failing)
    await archived(rabbit, failed())
    assert not outages
    assert await drained(rabbit)


async def test_a_message_that_rabbitmq_gave_up_is_understood(
    connect: Connect, broker_url: str
) -> None:
    """It has no headers of ours, or old ones, which do not count: it would be taken for known."""
    stale = failed()
    async with connect(broker_url=broker_url, delivery_limit=1) as service:
        await archived(service, stale)
        await given_up(service, stale)
        async with archiving(service):
            await eventually(lambda: grown(service, 2), within=120)
        kept = await rows(service, f"{KEPT} WHERE reason = 'delivery_limit'")
    ((identity, _, *others),) = kept
    assert identity != stale.headers["dl-id"]
    queue = service.topology.main.name
    assert others == [SALE_MADE, stale.message_id, queue, "waiting", 0]


async def given_up(service: Service, message: Message) -> None:
    """Have RabbitMQ give a message up after two deliveries."""
    given_back: list[Delivery] = []
    taking = await service.broker.consume(
        service.topology.main.name, prefetch=1, deliver=given_back.append
    )
    await send(service, message)
    for _ in (1, 2):
        await eventually(lambda: given_back)
        given_back.clear()
        await taking.restart()  # from RabbitMQ 4.3 on a release does not count
    await taking.cancel()


async def test_a_message_that_was_processed_is_no_dead_letter(
    connect: Connect, broker_url: str
) -> None:
    """RabbitMQ gives it up although only its acks were lost; nobody has to decide about it."""
    processed, other = sold(), sold()
    async with connect(broker_url=broker_url, delivery_limit=1) as service:
        async with consuming(service):
            await send(service, processed)
            await eventually(lambda: count(service, "sales"))
        for message in (processed, other):
            await given_up(service, message)
        async with archiving(service):
            await eventually(lambda: grown(service, 1))
            await eventually(lambda: drained(service))
        ((kept,),) = await rows(service, "SELECT message_id FROM dead_letters")
    assert kept == other.message_id


async def test_of_a_body_that_is_too_large_the_beginning_is_kept(connect: Connect) -> None:
    """It is not lost in silence, it comes to rest, and nobody replays a half."""
    async with connect() as service:
        service.archiver._largest_body = 1000
        message = failed(body=b"x" * 1001)
        await archived(service, message, failed(body=b"y" * 1000))
        kept = await rows(service, "SELECT length(body), body_bytes FROM dead_letters ORDER BY 2")
        assert kept == [(1000, 1000), (1000, 1001)]
        identity = identity_of(message)
        assert await replayed(service, identity) == [Outcome.IMPOSSIBLE]
        assert await service.broker.count(service.topology.main.name) == 0
        assert (await rows(service, f"{KEPT} WHERE id = '{identity}'"))[0][5] == "waiting"


async def test_a_replay_takes_effect_once(service: Service) -> None:
    """With all its attempts; asked for twice it is sent once, and it can fail again."""
    message = failed()
    identity = identity_of(message)
    await archived(service, message)
    assert await replayed(service, identity, identity, uuid4()) == [
        Outcome.REPLAYED,
        Outcome.PASSED_OVER,
        Outcome.PASSED_OVER,
    ]
    ((*_, state, replays),) = await rows(service, KEPT)
    assert (state, replays) == (State.replayed, 0)
    async with consuming(service):
        await eventually(lambda: settled(service, "done") == 1)
    assert await count(service, "sales") == 1


async def test_two_replays_at_once_send_each_message_once(rabbit: Service) -> None:
    """Who comes second passes over what the first one holds."""
    messages = [failed() for _ in range(20)]
    identities = [identity_of(each) for each in messages]
    await archived(rabbit, *messages)
    ends = await asyncio.gather(*(replayed(rabbit, *identities) for _ in range(3)))
    outcomes = [outcome for end in ends for outcome in end]
    assert outcomes.count(Outcome.REPLAYED) == 20
    assert await rabbit.broker.count(rabbit.topology.main.name) == 20


async def test_what_is_replayed_is_what_it_was(service: Service) -> None:
    """With its headers and properties, without what we and the broker wrote on it."""
    at = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    extra = {"bytes": bytearray(b"\x00\xff"), "when": at, "list": [1, {"a": "b"}], "x-mine": 1}
    original = failed(timestamp=at, app_id="shop")
    original = replace(original, headers={**original.headers, **extra})
    await archived(service, original)
    await replayed(service, identity_of(original))
    taken: list[Delivery] = []
    await service.broker.consume(service.topology.main.name, prefetch=1, deliver=taken.append)
    await eventually(lambda: taken)
    message = taken[0].message
    expected = {**sold().headers, **extra, REPLAYS: 1}
    assert message.headers == expected
    assert replace(message, headers={}) == replace(original, headers={})
    again = read(replace(message, headers={**message.headers}), largest_body=10_000)
    assert again.replays == 1


def test_a_replay_that_fails_is_another_dead_letter() -> None:
    """With an id of its own, so that it is not taken for the one that was decided about."""
    first = read(sold(), largest_body=10_000)
    second = read(first.message(), largest_body=10_000)
    assert (first.replays, second.replays) == (0, 1)
    assert first.id != second.id
    assert read(first.message(), largest_body=10_000).id == second.id


async def test_what_is_set_aside_meanwhile_is_not_meant(connect: Connect) -> None:
    """A replay that always fails would go on for ever."""
    first, second = failed(), failed()
    async with connect() as service:
        await archived(service, first)
        _, now = await looked_up(service, DeadLetters.count, Selection())
        await archived(service, second)
        meant = await looked_up(service, DeadLetters.page, Selection(until=now))
    assert [each.id for each in meant] == [identity_of(first)]


async def test_what_waits_is_counted(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the age of the oldest."""
    async with connect() as service:
        await archived(service, failed(), failed())
        value = service.metrics.registry.get_sample_value
        async with archiving(service):
            await eventually(lambda: value("dead_letters_waiting") == 2)
        age = value("dead_letters_oldest_seconds")
        assert age is not None
        assert 0 < age < timedelta(minutes=2).total_seconds()
        async with archiving(service):

            async def backlog(_: DeadLetters) -> Any:
                raise DatabaseUnavailable("it does not answer")

            monkeypatch.setattr(DeadLetters, "backlog", backlog)
            for name in ("dead_letters_waiting", "dead_letters_oldest_seconds"):
                await eventually(lambda: math.isnan(value(name) or 0))  # noqa: B023


def test_headers_are_left_out_when_nobody_can_follow_them() -> None:
    """However deep they are, the reason is kept."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    letter = read(failed(headers={"deep": deep, "dl-reason": "refused"}), largest_body=10)
    assert (letter.reason, letter.headers) == ("refused", {})
