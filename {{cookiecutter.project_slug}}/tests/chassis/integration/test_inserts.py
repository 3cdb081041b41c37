"""Rows that are inserted come out of PostgreSQL as they were, and when they should; any driver.

They travel as JSON, and some of them wait for COMMIT.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import peewee
import pytest

from acme_orders.chassis.database.inserts import insertion
from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.errors import (
    ConstraintViolated,
    DatabaseError,
    QueryRefused,
    TransactionAborted,
    WriteOutsideTransaction,
)
from acme_orders.chassis.messaging.inbox import InboxEntry
from acme_orders.chassis.messaging.outbox import OutboxRow
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, count, rows
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver
from tests.chassis.slices.sales.messages import SaleMade
from tests.chassis.slices.sales.models import Buyer, JournalEntry, Sale

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

BINARY = {
    "all": bytes(range(256)),
    "none": b"",
    "nul": b"\x00",
    "backslash": b"\\x41\\\\",
    "text": "grüße".encode(),
    "large": b"\xff\x00" * 50_000,
}
TEXTS = (
    "",
    " ",
    "it's",
    '"quoted"',
    "\\ \\n \\\\ \\x41 \\u0041",
    "100% %s %(name)s %% $1 ?",
    "a\tb\nc\rd\x01\x1f\x7f",
    "grüße, 日本語, \u202eabc",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u2028 \u2029 \ufeff \uffff",
    "e\u0301",  # not the same as é
    "{1,2,NULL}",
    "null",
    "NULL",
    "NaN",
    "</script><!--",
    "x" * 100_000,
)
MOMENTS = (
    datetime(2026, 1, 31, 12, tzinfo=UTC),
    datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2026, 1, 31, 12, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=-11))),
    datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32))),  # Amsterdam
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
DOCUMENTS: tuple[Any, ...] = (
    {},
    {"texts": TEXTS},
    dict.fromkeys(TEXTS, 1),
    {"list": [1, 2.5, -0.1, True, None, "", [], {}], "large": 2**70, "small": -(2**63)},
    [1, {"a": [None]}],
    "a text",
    '{"a": "text that looks like an object"}',
    0,
    False,
)


class Undone(Exception):
    """Ends a transaction or a savepoint without its effects."""


class Probe(Repository):
    """Does things later, and remembers with what it was asked to."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.manager)
        self.asked: list[Sequence[int]] = []

    async def even(self, numbers: Sequence[int]) -> list[bool]:
        """Has an effect on even numbers only."""
        self.asked.append(numbers)
        return [number % 2 == 0 for number in numbers]

    async def broken(self, numbers: Sequence[int]) -> list[bool]:
        """Fails."""
        raise Undone(*numbers)

    @query("probe.buyer", writes=True)
    async def buyer(self, number: int, *, provided: bool) -> None:
        """Enter a buyer later; with `provided` only if the number is even."""
        later = self.later(self.even, number) if provided else None
        self.add_later(Buyer, buyer(number), provided=later)


def buyer(number: int) -> dict[str, Any]:
    """The row of a buyer."""
    return {"id": UUID(int=number), "email": f"{number}@example.com"}


def sale(number: int, **changes: Any) -> dict[str, Any]:
    """The row of a sale of the first buyer."""
    return {
        "id": UUID(int=number),
        "buyer_id": UUID(int=1),
        "status": "booked",
        "currency": "EUR",
        "total_cents": number,
        "made_at": MOMENTS[0],
    } | changes


def event(number: int, **changes: Any) -> dict[str, Any]:
    """The row of an event; the other columns are PostgreSQL's."""
    return {
        "message_id": UUID(int=number),
        "type": "thing.done",
        "body": "{}",
        "extensions": {},
    } | changes


def entry(name: str, payload_hash: bytes | None) -> dict[str, Any]:
    """The row of a message that was processed."""
    return {
        "consumer": "c",
        "source": "s",
        "id": name,
        "type": "t",
        "payload_hash": payload_hash,
    }


@pytest.fixture(params=DRIVERS)
async def service(
    request: pytest.FixtureRequest, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """The service in memory."""
    use_driver(request.param, monkeypatch)
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(connect())


@pytest.fixture
def probe(service: Service) -> Probe:
    """A repository on the service's database."""
    return Probe(service)


@pytest.fixture
def sent(service: Service) -> list[str]:
    """The SQL of every statement from now on."""
    statements: list[str] = []
    service.manager.observe(lambda statement: statements.append(statement.sql))
    return statements


async def insert(probe: Probe, model: Any, rows_: Sequence[dict[str, Any]]) -> None:
    """In a transaction of their own."""
    async with probe.manager.transaction("test"):
        assert await probe.insert_all(model, rows_) == len(rows_)


async def emails(service: Service) -> set[str]:
    """The buyers that are committed, by number."""
    found = await rows(service, "SELECT email FROM buyers")
    return {email.removesuffix("@example.com") for (email,) in found}


# Values


async def test_bytes_stay_bytes(service: Service, probe: Probe) -> None:
    """All of them, and none; NULL where the column allows it."""
    await rows(service, "ALTER TABLE inbox ALTER payload_hash DROP NOT NULL")
    binary: dict[str, bytes | None] = {**BINARY, "null": None}
    await insert(probe, InboxEntry, [entry(name, value) for name, value in binary.items()])
    found = await rows(service, "SELECT id, payload_hash FROM inbox")
    assert {name: value and bytes(value) for name, value in found} == {**binary, "none": b""}


async def test_texts_stay_as_they_are(service: Service, probe: Probe) -> None:
    """Whatever means something to JSON, SQL, the driver or a terminal."""
    await insert(
        probe,
        OutboxRow,
        [event(number, body=text, last_error=text) for number, text in enumerate(TEXTS)],
    )
    found = await rows(service, "SELECT body, last_error FROM outbox ORDER BY id")
    assert found == [(text, text) for text in TEXTS]


async def test_moments_stay_the_same_moment(service: Service, probe: Probe) -> None:
    """To the microsecond, whatever zone they are told in."""
    await insert(probe, Buyer, [buyer(1)])
    await insert(
        probe, Sale, [sale(number, made_at=at) for number, at in enumerate(MOMENTS, start=1)]
    )
    found = await rows(
        service,
        "SELECT to_char(made_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') "
        "FROM sales ORDER BY id",
    )
    assert [text for (text,) in found] == [
        at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds") for at in MOMENTS
    ]


@pytest.mark.parametrize("number", [0, 2**31, 2**53 + 1, 2**62, 2**63 - 1])
async def test_numbers_stay_exact(service: Service, probe: Probe, number: int) -> None:
    """Also those that a floating-point number cannot hold."""
    await insert(probe, Buyer, [buyer(1)])
    await insert(probe, Sale, [sale(1, total_cents=number)])
    assert await rows(service, "SELECT total_cents FROM sales") == [(number,)]


async def test_nothing_is_null(service: Service, probe: Probe) -> None:
    """And no text, and no number."""
    await insert(
        probe,
        OutboxRow,
        [event(1, ordering_key=None, lease=None), event(2, ordering_key="", lease=UUID(int=7))],
    )
    found = await rows(
        service, "SELECT ordering_key, lease::text, last_error FROM outbox ORDER BY id"
    )
    assert found == [(None, None, None), ("", str(UUID(int=7)), None)]


async def test_documents_stay_documents(service: Service, probe: Probe) -> None:
    """An object is no text that looks like one, and a text that looks like one is no object."""
    await insert(
        probe,
        JournalEntry,
        [
            {"id": UUID(int=number), "event_type": "test", "payload": document}
            for number, document in enumerate(DOCUMENTS)
        ],
    )
    found = await rows(service, "SELECT payload::text, jsonb_typeof(payload) FROM journal "
                                "ORDER BY id")  # fmt: skip
    kinds = {dict: "object", list: "array", str: "string", int: "number", bool: "boolean"}
    assert [json.loads(text) for text, _ in found] == json.loads(json.dumps(DOCUMENTS))
    assert [kind for _, kind in found] == [kinds[type(document)] for document in DOCUMENTS]


async def test_a_message_is_stored_as_an_object(service: Service, probe: Probe) -> None:
    """PostgreSQL can look into it."""
    sold = SaleMade.model_validate({**SaleMade.example(), "buyer_email": "o'\"\\%s@example.com"})
    entries = [{"id": UUID(int=1), "event_type": "test", "payload": sold}]
    await insert(probe, JournalEntry, entries)
    found = await rows(
        service,
        "SELECT payload ->> 'buyer_email', payload -> 'lines' -> 0 ->> 'sku' FROM journal",
    )
    assert found == [(sold.buyer_email, sold.lines[0].sku)]


async def test_columns_that_are_not_given_are_those_of_postgresql(
    service: Service, probe: Probe
) -> None:
    """Its defaults and its numbers, and not NULL."""
    await insert(probe, OutboxRow, [event(1), event(2)])
    found = await rows(
        service,
        "SELECT id, attempts, lease IS NULL, created_at = available_at, "
        "now() - created_at < interval '1 minute' FROM outbox ORDER BY id",
    )
    assert [row[1:] for row in found] == [(0, True, True, True)] * 2
    assert found[0][0] < found[1][0]


def test_a_number_that_is_none() -> None:
    """In columns for numbers PostgreSQL has them, told as texts."""

    class Measure(peewee.Model):
        tenant_id = peewee.UUIDField()  # feature: row, rls
        value = peewee.DoubleField(null=True)

    numbers = [1.5, float("inf"), float("-inf"), float("nan"), None]
    _, (*_, document) = insertion(Measure, [{"value": number} for number in numbers])
    assert [row["value"] for row in json.loads(document)] == [1.5, "inf", "-inf", "nan", None]


# Refusals


async def test_a_number_that_is_none_within_a_document(probe: Probe) -> None:
    """JSON has no such thing, and a text or nothing in its place would be another document."""
    with pytest.raises(DatabaseError, match="syntax for type json"):
        await insert(
            probe,
            JournalEntry,
            [{"id": UUID(int=1), "event_type": "test", "payload": {"value": float("nan")}}],
        )


@pytest.mark.parametrize("odd", [{"attempts": 3}, {"lease": None}])
async def test_rows_with_other_columns_are_refused(
    probe: Probe, sent: list[str], odd: dict[str, Any]
) -> None:
    """They would lose what the first row does not have; both lists are named."""
    async with probe.manager.transaction("test"):
        with pytest.raises(QueryRefused, match="OutboxRow differ in their columns") as refused:
            await probe.insert_all(OutboxRow, [event(1), event(2), event(3, **odd)])
    assert ", ".join(event(1)) in str(refused.value)
    assert ", ".join(event(1, **odd)) in str(refused.value)
    assert sent == []


async def test_rows_with_fewer_columns_are_refused(probe: Probe, sent: list[str]) -> None:
    """They would get NULL, and not the default of the column."""
    async with probe.manager.transaction("test"):
        with pytest.raises(QueryRefused, match="OutboxRow differ in their columns"):
            await probe.insert_all(OutboxRow, [event(1, attempts=0), event(2)])
    assert sent == []


async def test_a_column_that_is_not_there_is_refused(probe: Probe, sent: list[str]) -> None:
    """In a row and among what all rows have in common; PostgreSQL would ignore the one."""
    async with probe.manager.transaction("test"):
        with pytest.raises(QueryRefused, match="Buyer has no nickname"):
            await probe.insert_all(Buyer, [{**buyer(1), "nickname": "Ada"}])
        with pytest.raises(QueryRefused, match="Buyer has no nickname"):
            await probe.insert_all_once(Buyer, [buyer(1)], Buyer.id, common={"nickname": "Ada"})
    assert sent == []


async def test_half_a_character_is_refused(probe: Probe, sent: list[str]) -> None:
    """Half of a surrogate pair is no text; the value itself is not told."""
    async with probe.manager.transaction("test"):
        with pytest.raises(QueryRefused, match="Buyer has a value without a form in JSON"):
            await probe.insert_all(Buyer, [{**buyer(1), "email": "\ud800@example.com"}])
    assert sent == []


async def test_null_is_refused_where_it_is_not_allowed(service: Service, probe: Probe) -> None:
    """The default of the column does not take its place."""
    with pytest.raises(ConstraintViolated):
        await insert(probe, OutboxRow, [event(1, attempts=None)])
    with pytest.raises(ConstraintViolated):
        await insert(probe, InboxEntry, [entry("1", None)])
    assert await count(service, "outbox") == await count(service, "inbox") == 0


# Statements


async def test_one_text_for_any_number_of_rows(probe: Probe, sent: list[str]) -> None:
    """Of each way to insert; the server keeps one plan and one line of statistics."""
    for each, number in enumerate((1, 100)):
        numbers = range(1 + 1000 * each, 1 + 1000 * each + number)
        async with probe.manager.transaction("test"):
            new = [buyer(number) for number in numbers]
            await probe.insert_all(Buyer, new[:1] if each == 0 else new)
            await probe.insert_all_once(Buyer, new, Buyer.id)
            await probe.upsert(Buyer, new, Buyer.id, update=[Buyer.email])
            for number_ in numbers:
                probe.add_later(OutboxRow, event(number_))
    assert len(sent) == 8
    assert sent[:4] == sent[4:]
    assert len(set(sent)) == 4


async def test_a_key_is_inserted_once(service: Service, probe: Probe) -> None:
    """Though it is there twice in one call, the first one wins."""
    twice = [buyer(1), buyer(2), {**buyer(3), "email": buyer(1)["email"]}]
    async with probe.manager.transaction("test"):
        new = await probe.insert_all_once(Buyer, twice, Buyer.email, returning=(Buyer.id,))
    assert new == {(row["email"], row["id"]) for row in twice[:2]}
    assert await emails(service) == {"1", "2"}


async def test_what_rows_have_in_common_is_in_each(service: Service, probe: Probe) -> None:
    """And among what is returned."""
    some = [entry(name, b"h") for name in ("1", "2")]
    for row in some:
        del row["consumer"]
    async with probe.manager.transaction("test"):
        key = (InboxEntry.consumer, InboxEntry.source, InboxEntry.id)
        new = await probe.insert_all_once(InboxEntry, some, *key, common={"consumer": "it's"})
    assert new == {("it's", "s", "1"), ("it's", "s", "2")}
    found = await rows(service, "SELECT consumer, id FROM inbox ORDER BY id")
    assert found == [("it's", "1"), ("it's", "2")]


async def test_an_upsert_takes_the_new_values(service: Service, probe: Probe) -> None:
    """Of bytes and documents as well, and leaves the other columns alone."""
    key = (InboxEntry.consumer, InboxEntry.source, InboxEntry.id)
    await insert(probe, InboxEntry, [entry("1", b"old")])
    changed = [{**entry("1", BINARY["all"]), "type": "new"}, entry("2", b"")]
    async with probe.manager.transaction("test"):
        changes = await probe.upsert(InboxEntry, changed, *key, update=[InboxEntry.payload_hash])
    assert changes == 2
    found = await rows(service, "SELECT id, type, payload_hash FROM inbox ORDER BY id")
    assert [(name, type_, bytes(value)) for name, type_, value in found] == [
        ("1", "t", BINARY["all"]),
        ("2", "t", b""),
    ]


# Later


async def test_rows_wait_for_commit(service: Service, probe: Probe, sent: list[str]) -> None:
    """And then go in one statement, under the name of the query that added them."""
    names: list[str] = []
    service.manager.observe(lambda statement: names.append(statement.query))
    async with probe.manager.transaction("test"):
        for number in (1, 2, 3):
            await probe.buyer(number, provided=False)
        assert sent == []
    assert names == ["probe.buyer"]
    assert await emails(service) == {"1", "2", "3"}


async def test_work_is_done_once_for_all_who_ask(service: Service, probe: Probe) -> None:
    """In their order, when it is flushed; and again only for those who ask later."""
    async with probe.manager.transaction("test"):
        asked = [probe.later(probe.even, number) for number in (3, 1, 4, 1)]
        assert probe.asked == []
        await probe.manager.flush()
        assert probe.asked == [[3, 1, 4, 1]]
        assert [later.happened for later in asked] == [False, False, True, False]
        probe.later(probe.even, 6)
    assert probe.asked == [[3, 1, 4, 1], [6]]


async def test_rows_follow_what_they_depend_on(service: Service, probe: Probe) -> None:
    """Those without effect are left out, those without condition are not."""
    async with probe.manager.transaction("test"):
        for number in range(1, 7):
            await probe.buyer(number, provided=True)
        await probe.buyer(9, provided=False)
        assert probe.asked == []
    assert probe.asked == [[1, 2, 3, 4, 5, 6]]
    assert await emails(service) == {"2", "4", "6", "9"}


async def test_work_may_ask_for_more(service: Service, probe: Probe) -> None:
    """All of it is done before COMMIT, before the rows that depend on it."""

    async def first(numbers: Sequence[int]) -> list[bool]:
        for number in numbers:
            await probe.buyer(number, provided=True)
        return [True for _ in numbers]

    async with probe.manager.transaction("test"):
        for number in (2, 3):
            probe.later(first, number)
    assert probe.asked == [[2, 3]]
    assert await emails(service) == {"2"}


async def test_work_that_fails_undoes_everything(service: Service, probe: Probe) -> None:
    """What was written before, and what waited."""
    with pytest.raises(Undone):
        async with probe.manager.transaction("test"):
            await probe.insert_all(Buyer, [buyer(1)])
            await probe.buyer(2, provided=True)
            probe.later(probe.broken, 3)
    assert probe.asked == [[2]]
    assert await emails(service) == set()
    await insert(probe, Buyer, [buyer(4)])  # nothing of it is left to be done
    assert await emails(service) == {"4"}


async def test_a_rollback_forgets_what_waited(service: Service, probe: Probe) -> None:
    """It is not even begun."""
    with pytest.raises(Undone):
        async with probe.manager.transaction("test"):
            await probe.buyer(2, provided=True)
            raise Undone
    async with probe.manager.transaction("test"):
        await probe.buyer(4, provided=True)
    assert probe.asked == [[4]]
    assert await emails(service) == {"4"}


async def test_a_savepoint_forgets_its_own_only(service: Service, probe: Probe) -> None:
    """What waited before it is done at its beginning, outside of what it may undo."""
    async with probe.manager.transaction("test"):
        await probe.buyer(2, provided=True)
        with pytest.raises(Undone):
            async with probe.manager.savepoint():
                assert probe.asked == [[2]]
                await probe.buyer(4, provided=True)
                raise Undone
        await probe.buyer(6, provided=True)
    assert probe.asked == [[2], [6]]
    assert await emails(service) == {"2", "6"}


async def test_a_savepoint_does_its_own_at_its_end(service: Service, probe: Probe) -> None:
    """So that it fails alone."""
    async with probe.manager.transaction("test"):
        async with probe.manager.savepoint():
            await probe.buyer(2, provided=True)
        assert probe.asked == [[2]]
        with pytest.raises(Undone):
            async with probe.manager.savepoint():
                await probe.buyer(4, provided=True)
                probe.later(probe.broken, 1)
        with pytest.raises(ConstraintViolated):
            async with probe.manager.savepoint():
                await probe.buyer(2, provided=False)
    assert await emails(service) == {"2"}


async def test_nothing_is_committed_without_what_failed_before_a_savepoint(
    service: Service, probe: Probe
) -> None:
    """Whoever lets a part fail alone has swallowed an error of what waited before it."""
    with pytest.raises(TransactionAborted):
        async with probe.manager.transaction("test"):
            await probe.insert_all(Buyer, [buyer(1)])
            probe.later(probe.broken, 1)
            with suppress(Undone):
                async with probe.manager.savepoint():
                    pass
    assert await emails(service) == set()
    async with probe.manager.transaction("test"):
        await probe.insert_all(Buyer, [buyer(2)])
        with suppress(TransactionAborted):
            async with probe.manager.savepoint():
                await probe.insert_all(Buyer, [buyer(3)])
                probe.later(probe.broken, 1)
                with suppress(Undone):
                    async with probe.manager.savepoint():
                        pass
        await probe.buyer(4, provided=True)
    assert await emails(service) == {"2", "4"}


async def test_later_needs_a_transaction(probe: Probe, sent: list[str]) -> None:
    """Or it would never come."""
    with pytest.raises(WriteOutsideTransaction):
        probe.later(probe.even, 2)
    with pytest.raises(WriteOutsideTransaction):
        probe.add_later(Buyer, buyer(1))
    with pytest.raises(WriteOutsideTransaction):
        await probe.manager.flush()
    assert (sent, probe.asked) == ([], [])
