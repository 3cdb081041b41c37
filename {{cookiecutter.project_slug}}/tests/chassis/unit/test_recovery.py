"""What is decided about a message that failed, and what its copies carry."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID  # feature: row, rls, schema

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import encode
from pydantic import Field

from acme_orders.chassis.dead_letters.record import identity
from acme_orders.chassis.errors import (
    BeyondDedupWindow,
    BrokerUnavailable,
    CommitUnknown,
    Conflict,
    ConstraintViolated,
    DatabaseUnavailable,
    Interrupted,
    Malformed,
    PayloadMismatch,
    PoolExhausted,
    PublishFailed,
    Refused,
    StatementTimeout,
    TryLater,
    UnknownType,
)
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.copies import carried, copy_of
from acme_orders.chassis.messaging.envelope import Handler, Payload, decode
from acme_orders.chassis.messaging.failures import fingerprint
from acme_orders.chassis.messaging.recovery import (
    DeadLetter,
    Retry,
    decide,
)
from acme_orders.chassis.messaging.topology import Topology
from acme_orders.chassis.rabbitmq.properties import tolerate

TOPOLOGY = Topology.of("s", [], ladder=(5, 30, 120), delivery_limit=9, suspect_deliveries=3)
FIRST, SECOND, THIRD = (step.name for step in TOPOLOGY.ladder)
LARGEST_FRAME = 128 * 1024


def violated(sqlstate: str) -> ConstraintViolated:
    """A constraint of this kind."""
    error = ConstraintViolated("no")
    error.sqlstate = sqlstate
    return error


def outcomes(
    kinds: Mapping[str, Exception], expected: DeadLetter | Retry, attempt: int = 1
) -> list[Any]:
    """One case for each."""
    return [pytest.param(each, attempt, expected, id=name) for name, each in kinds.items()]


def all_of(*errors: Exception) -> Mapping[str, Exception]:
    """By the names of their classes."""
    return {type(error).__name__: error for error in errors}


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        # Of these somebody has proved before that it is the message's own fault.
        *outcomes(
            all_of(
                DatabaseUnavailable(),
                CommitUnknown(),
                PoolExhausted(),
                BrokerUnavailable(),
                PublishFailed(),
            ),
            Retry(FIRST, 2),
        ),
        pytest.param(Malformed(), 1, DeadLetter("malformed"), id="Malformed"),
        pytest.param(UnknownType(), 1, DeadLetter("unknown_type"), id="UnknownType"),
        pytest.param(PayloadMismatch(), 1, DeadLetter("payload_mismatch"), id="PayloadMismatch"),
        pytest.param(BeyondDedupWindow(), 1, DeadLetter("beyond_dedup_window"), id="too old"),
        pytest.param(Refused(), 1, DeadLetter("refused"), id="Refused"),
        pytest.param(violated("23502"), 1, DeadLetter("constraint"), id="not null"),
        pytest.param(violated("23514"), 1, DeadLetter("constraint"), id="check"),
        # A row that is missing or in the way may come or go.
        *outcomes({"foreign": violated("23503"), "unique": violated("23505")}, Retry(FIRST, 2)),
        *outcomes(
            all_of(StatementTimeout(), TimeoutError(), Interrupted(), KeyError("bug")),
            Retry(FIRST, 2),
        ),
        pytest.param(KeyError("bug"), 2, Retry(SECOND, 3), id="the second time"),
        pytest.param(KeyError("bug"), 3, Retry(THIRD, 4), id="the last time"),
        pytest.param(KeyError("bug"), 4, DeadLetter("retries_exhausted"), id="once more"),
        pytest.param(KeyError("bug"), 2**63 - 1, DeadLetter("retries_exhausted"), id="forged"),
        # Somebody else was in the way: that spends no attempt, however often.
        pytest.param(Conflict(), 1, Retry(FIRST, 1), id="conflict"),
        pytest.param(Conflict(), 99, Retry(FIRST, 99), id="conflict of the last attempt"),
        pytest.param(TryLater(), 1, Retry(FIRST, 2), id="later"),
        pytest.param(TryLater(), 2, Retry(SECOND, 3), id="later, the second time"),
        pytest.param(TryLater(after=5), 1, Retry(FIRST, 2), id="after 5 s"),
        pytest.param(TryLater(after=6), 1, Retry(SECOND, 2), id="after 6 s"),
        pytest.param(TryLater(after=999), 1, Retry(THIRD, 2), id="after more than there is"),
        pytest.param(TryLater(), 4, DeadLetter("retries_exhausted"), id="later, once too often"),
    ],
)
def test_the_table(error: Exception, attempt: int, expected: DeadLetter | Retry) -> None:
    """Every row of `What happens to an error` in docs/architecture.md."""
    assert decide(error, attempt, TOPOLOGY) == expected


@settings(deadline=None)  # a machine may be busy
@given(st.integers(1, 2**63), st.floats(0, 1e6))
def test_an_attempt_is_never_given_back(attempt: int, after: float) -> None:
    """Whatever a message asks for, the ladder ends."""
    for error in (KeyError(), TryLater(after=after)):
        match decide(error, attempt, TOPOLOGY):
            case Retry(queue, following):
                assert queue in {FIRST, SECOND, THIRD}
                assert following == attempt + 1 <= 4
            case DeadLetter(reason):
                assert reason == "retries_exhausted"
                assert attempt > 3


# What copies carry


def test_headers_that_a_broker_wrote_about_a_delivery_are_left_behind() -> None:
    """They are not true of a copy, and a client could have forged them."""
    forged = {"x-death": [], "X-Delivery-Count": 9, "x-first-death-queue": "q", "x-opt-any": 1}
    assert carried({**forged, "mine": "kept", "retry-attempt": 3}) == {"mine": "kept"}


def test_headers_that_a_broker_would_obey_are_named() -> None:
    """It would route the copy elsewhere, or drop it."""
    found = carried({"CC": ["s"], "x-deduplication-header": "d", "x-request-id": "kept"})
    dropped = found.pop("dropped-headers").split(", ")
    assert found == {"x-request-id": "kept"}
    assert sorted(dropped) == ["CC", "x-deduplication-header"]


def test_a_copy_of_a_copy_names_what_the_first_one_lost() -> None:
    """There may be ten copies before somebody reads the last one."""
    first = carried({"odd": 2**63, "mine": 1})
    assert carried({**first, "odd too": object()})["dropped-headers"] == "odd, odd too"


EACH_PROPERTY: dict[str, Any] = {
    "message_id": "m", "type": "t", "app_id": "a", "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
    "content_type": "text/plain", "content_encoding": "gzip", "correlation_id": "c",
    "reply_to": "r", "priority": 3, "expiration": "60000", "user_id": "guest",
}  # fmt: skip


def test_each_property_is_carried_or_named() -> None:
    """A retry is the message that it was."""
    assert {"body", "headers", *EACH_PROPERTY} == {each.name for each in fields(Message)}
    sent = Message(b"{}", headers={"x-request-id": 1}, **EACH_PROPERTY)
    copy = copy_of(sent, {"retry-attempt": 2})
    lost = [name for name in EACH_PROPERTY if getattr(copy, name) != getattr(sent, name)]
    assert lost == ["expiration", "user_id"]
    said = {"dropped-properties": "expiration=60000, user_id=guest"}
    assert copy.headers == {"x-request-id": 1, "retry-attempt": 2, **said}
    assert copy_of(copy, {}).headers == {"x-request-id": 1, **said}


@pytest.mark.parametrize(
    "value",
    [2**63, {1, 2}, object(), {"n" * 129: 1}, [[[[[["deep"]]]]]]],
    ids=["too large", "a set", "an object", "a long name", "deep"],
)
def test_what_cannot_be_sent_is_named(value: Any) -> None:
    """And does not keep the rest from being sent."""
    assert carried({"mine": 1, "odd": value}) == {"mine": 1, "dropped-headers": "odd"}


def test_one_big_header_does_not_drive_out_the_others() -> None:
    """The biggest are left out first."""
    big = {"a-big": "x" * 70_000, **{f"small-{each}": "y" * 100 for each in range(300)}}
    found = carried(big)
    assert found.pop("dropped-headers") == "a-big"
    assert found == {name: value for name, value in big.items() if name != "a-big"}


EARLIEST, LATEST = datetime(1970, 1, 1), datetime(9999, 1, 1)  # noqa: DTZ001
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=140)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC)),
    lambda each: st.lists(each) | st.dictionaries(NAMES, each),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a machine may be busy
@given(st.dictionaries(NAMES, VALUES), st.sampled_from((1, 500)))
def test_what_is_carried_can_be_sent(headers: dict[str, Any], times: int) -> None:
    """In one frame, with room for what we add."""
    tolerate()
    many = {f"{name}-{each}"[-140:]: value for name, value in headers.items()
            for each in range(min(times, 20_000 // max(1, len(headers))))}  # fmt: skip
    for given_ in (headers, many):
        assert len(encode.field_table(carried(given_))) < LARGEST_FRAME - 10_000


@pytest.mark.parametrize("value", ["", None, 0.5, "\U0001f600", b"\xff"])
def test_many_small_headers_fit_into_a_frame(value: Any) -> None:
    """Each takes more than its name and value."""
    tolerate()
    found = carried({f"{each:x}": value for each in range(20_000)})
    assert 1000 < len(encode.field_table(found)) < LARGEST_FRAME - 10_000


# Failures


def raised(action: Callable[[], object]) -> Exception:
    """What it raises, with its traceback."""
    try:
        action()
    except Exception as error:
        return error
    pytest.fail("nothing was raised")


def test_a_fingerprint_is_that_of_a_place() -> None:
    """Not of the values; and lines of others do not count, which change with their versions."""
    found = fingerprint(raised(Payload.example))
    assert len(found) == 16
    assert found == fingerprint(raised(Payload.example))
    assert found != fingerprint(LookupError("raised elsewhere"))
    assert fingerprint(raised(lambda: int("a"))) == fingerprint(raised(lambda: int("b")))
    assert fingerprint(raised(lambda: int("a"))) != fingerprint(raised(lambda: 1 // len("")))


class Order(Payload):
    """With fields, keys of the sender, and orders in it."""

    currency: str = Field(pattern="^[A-Z]{3}$")
    email: str = Field(max_length=20, alias="e-mail")
    amount: float = Field(allow_inf_nan=False)
    labels: dict[str, int] = Field(default_factory=dict)
    parts: tuple["Order", ...] = ()


ORDER = {"currency": "EUR", "e-mail": "ada@example.com", "amount": 1.5}


def refused(body: bytes | Mapping[str, Any], type_: str = "order", **changes: Any) -> str:
    """The fingerprint of a message that cannot be decoded."""
    body = body if isinstance(body, bytes) else json.dumps({**ORDER, **body}).encode()
    # feature: row, rls, schema {
    changes = {"headers": {"tenant": str(UUID(int=1))}, **changes}
    # feature: row, rls, schema }
    message = replace(Message(body, "id", type_, "source"), **changes)

    async def handle(_: Order) -> None:
        """Is not called."""

    handlers = {each: Handler(Order, handle) for each in ("order", "other")}
    limits = {"max_body_bytes": 10_000, "max_header_bytes": 1000}
    return fingerprint(raised(lambda: decode(message, handlers, **limits)))


def test_what_is_wrong_with_a_message_is_in_its_fingerprint() -> None:
    """Who decides about one mistake decides about no other."""
    wrong = [
        refused(b'{"currency": "EU'),
        refused(b"\x80\x81"),
        refused(b"[]"),
        refused({"amount": float("nan")}),
        refused({"amount": "much"}),
        refused({"currency": "euro"}),
        refused({"currency": None}),
        refused({"e-mail": "ada" * 10}),
        refused({"parts": [{**ORDER, "currency": "euro"}]}),
        refused({"currency": "a\0"}),
        refused({"currency": "euro"}, "other"),
        refused({}, headers={"a": "x" * 2000}),
        refused(b" " * 20_000),
        refused({}, message_id=None),
        refused({}, type=None),
    ]
    assert len(set(wrong)) == len(wrong)


def test_what_a_sender_can_choose_is_in_no_fingerprint() -> None:
    """Neither values nor keys, numbers or depths: he would fill the list of groups."""

    def nested(depth: int) -> dict[str, Any]:
        return {"parts": [{**ORDER, **nested(depth - 1)}]} if depth else {"currency": "euro"}

    for one, other in (
        ({"currency": "euro"}, {"currency": "yen", "amount": "much"}),
        ({"labels": {"a": "x"}}, {"labels": {"b": "y"}}),
        (nested(2), nested(3)),
        ({"parts": [{}]}, {"parts": [ORDER, {}]}),
        (b'{"a": "b', b'{"a": 1, "bc": "d'),
    ):
        assert refused(one) == refused(other), (one, other)


MESSAGE = Message(b"body", "id", "type", "source")


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"other"},
        {"message_id": "other"},
        {"app_id": "other"},
        {"headers": {"dl-replay-count": 1}},
        {"headers": {"cloudEvents:id": "other"}},
        {"headers": {"cloudEvents:source": "other"}},
        {"headers": {"tenant": "other"}},  # feature: row, rls, schema
    ],
)
def test_a_dead_letter_has_an_id(change: dict[str, Any]) -> None:
    """One for each failure: its copies share it, and nothing else does."""
    same = replace(MESSAGE, headers={"retry-attempt": 2, "x-delivery-count": 3})
    assert identity(MESSAGE) == identity(same)
    assert identity(MESSAGE) != identity(replace(MESSAGE, **change))


@pytest.mark.parametrize("missing", [None, ""])
def test_a_message_without_id_is_a_dead_letter_of_its_own(missing: str | None) -> None:
    """Nobody can tell it from the next one."""
    nameless = replace(MESSAGE, message_id=missing)
    assert identity(nameless) != identity(nameless)
