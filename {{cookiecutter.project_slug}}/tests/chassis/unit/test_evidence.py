"""A message is to blame if it fails again and again, and others of its kind succeed meanwhile."""

from collections.abc import Callable
from typing import Any
from uuid import UUID  # feature: row, rls, schema

import pytest

from acme_orders.chassis.messaging.envelope import Envelope, Payload
from acme_orders.chassis.messaging.evidence import Evidence

from tests.chassis.unit.test_circuit_breaker import Clock, clock

__all__ = ["clock"]

PATIENCE = 300.0


def envelope(identity: str, **changes: Any) -> Envelope:
    """A message."""
    fields: dict[str, Any] = {
        "id": identity,
        "type": "a",
        "source": "s",
        "correlation_id": "c",
        "tenant": UUID(int=1),  # feature: row, rls, schema
        "time": None,
        "payload": Payload(),
        "payload_hash": b"",
        "attempt": 1,
        "replays": 0,
    }
    return Envelope(**{**fields, **changes})


BAD, GOOD = envelope("bad"), envelope("good")


class Court:
    """Evidence, and the clock that it is taken down by."""

    def __init__(self, clock: Clock) -> None:
        self.evidence, self.clock = Evidence(patience=PATIENCE), clock

    def failed(self, message: Envelope = BAD, sign: str = "refused", **how: bool) -> int:
        """Let a message fail a second later; returns how often it has, 0 if it is guilty."""
        self.clock.now += 1
        found = self.evidence.failed(message, sign, **{"ended": False, "incident": False, **how})
        return 0 if found.guilty else found.failures

    def succeeded(self, *messages: Envelope, ago: float = 0.5) -> None:
        """Let messages succeed a second later, whose transaction began some seconds before."""
        self.clock.now += 1
        self.evidence.succeeded(messages, began=self.clock.now - ago)


@pytest.fixture
def court(clock: Clock) -> Court:
    """Without any case yet."""
    return Court(clock)


def test_others_succeed(court: Court) -> None:
    """Then it is guilty when it has failed twice, and stays so until it succeeds itself."""
    assert court.failed() == 1
    court.succeeded(GOOD)
    assert [court.failed() for _ in range(3)] == [0, 0, 0]
    assert court.evidence.doubts(BAD)
    court.succeeded(BAD)
    assert not court.evidence.doubts(BAD)
    assert court.failed() == 1


def test_nobody_succeeds(court: Court) -> None:
    """Then nobody knows, however often it fails."""
    assert [court.failed() for _ in range(20)] == list(range(1, 21))


@pytest.mark.parametrize(
    "other",
    [
        lambda court: court.succeeded(envelope("good", type="b")),
        lambda court: court.succeeded(GOOD, ago=1.5),
        lambda court: court.failed(GOOD),
    ],
    ids=["another kind", "began before", "failed as well"],
)
def test_this_says_nothing(court: Court, other: Callable[[Court], object]) -> None:
    """A success of something else, or of before; or a failure."""
    court.failed()
    other(court)
    assert court.failed() == 2
    court.succeeded(GOOD)
    assert court.failed() == 0


@pytest.mark.parametrize(("ended", "times"), [(False, 1), (True, 3)])
def test_what_is_proved_of_one_is_proved_of_those_alike(
    court: Court,
    ended: bool,  # noqa: FBT001
    times: int,
) -> None:
    """Also if nobody succeeds any more, because all others are done."""
    for _ in range(3):
        court.failed(ended=ended)
        court.succeeded(GOOD)
    another = envelope("another bad")
    assert [court.failed(another, ended=ended) for _ in range(times)][-1] == 0
    assert court.failed(envelope("third"), sign="something else", ended=ended) == 1
    assert court.failed(envelope("fourth", type="b"), ended=ended) == 1


@pytest.mark.parametrize("why", ["an incident", "long ago"])
def test_what_was_proved_is_forgotten(court: Court, why: str) -> None:
    """When all fail alike it says nothing, and not for ever."""
    court.failed()
    court.succeeded(GOOD)
    assert court.failed() == 0
    if why == "an incident":
        court.evidence.incident(BAD.kind)
    else:
        court.clock.now += PATIENCE
    assert court.failed(envelope("another")) == 1


def test_another_failure_is_another_case(court: Court) -> None:
    """What it was guilty of says nothing about this."""
    court.failed()
    court.succeeded(GOOD)
    assert court.failed() == 0
    assert court.failed(sign="something else") == 1


def test_a_session_that_ends_may_be_chance(court: Court) -> None:
    """So it takes three times, while others succeed."""
    assert court.failed(ended=True) == 1
    court.succeeded(GOOD)
    assert court.failed(ended=True) == 2
    assert court.failed(ended=True) == 0


@pytest.mark.parametrize(("commits", "enough"), [(1, 14), (3, 7), (99, 3)])
def test_in_a_storm_nobody_is_guilty_soon(court: Court, commits: int, enough: int) -> None:
    """Others whose sessions ended have recovered, so it is chance, and how often says when not."""
    court.failed(ended=True)
    court.failed(GOOD, ended=True)
    for _ in range(commits):
        court.succeeded(GOOD)
    assert [court.failed(ended=True) for _ in range(enough - 1)] == [*range(2, enough), 0]


@pytest.mark.parametrize("ended", [True, False])
def test_alone(court: Court, ended: bool) -> None:  # noqa: FBT001
    """After a while an attempt is spent, and then there is as much time again."""
    found = [court.failed(ended=ended) for _ in range(3 * int(PATIENCE) + 4)]
    spent = [second for second, failures in enumerate(found) if not failures]
    assert spent == [PATIENCE + 1, 2 * PATIENCE + 2, 3 * PATIENCE + 3]


def test_an_incident_has_no_end(court: Court) -> None:
    """As long as its kind fails, no attempt is spent."""
    for _ in range(3 * int(PATIENCE)):
        assert court.failed(incident=True)


def test_what_is_remembered_is_bounded(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten."""
    monkeypatch.setattr("acme_orders.chassis.messaging.evidence._MOST", 3)
    for number in range(5):
        court.failed(envelope(str(number)))
    assert [court.evidence.doubts(envelope(str(number))) for number in range(5)] == [
        False, False, True, True, True,
    ]  # fmt: skip
