"""A circuit opens for what fails for everybody, and closes when one message gets through."""

import random
import time

import pytest
from prometheus_client import Gauge
from structlog.testing import capture_logs

from acme_orders.chassis.messaging.circuit_breaker import CircuitBreaker

LONGEST = 2.0


class Clock:
    """The monotonic clock, which stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that circuits look at; chance always takes the longest pause."""
    found = Clock()
    monkeypatch.setattr(time, "monotonic", found)
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    return found


@pytest.fixture
def gauge() -> Gauge:
    """How many circuits are open."""
    return Gauge("open", "Open circuits", registry=None)


@pytest.fixture
def circuit(clock: Clock, gauge: Gauge) -> CircuitBreaker:
    """A closed one."""
    return CircuitBreaker("kind", gauge, limit=0.5, window=10, longest_pause=LONGEST)


def value(gauge: Gauge) -> float:
    """What it shows."""
    ((sample,),) = (each.samples for each in gauge.collect())
    return sample.value


def test_three_messages_that_fail_alike_open_it(circuit: CircuitBreaker) -> None:
    """Not one of them three times, nor three in different ways."""
    for _ in range(5):
        circuit.doubted("one way", "first")
        circuit.doubted("one way", "second")
        circuit.doubted("another way", "third")
    assert not circuit.open
    circuit.doubted("one way", "third")
    assert circuit.open
    assert circuit.why == "3 messages failed alike, and none succeeded since: one way"


def test_a_success_in_between_keeps_it_closed(circuit: CircuitBreaker, clock: Clock) -> None:
    """Somebody gets through, so it is not broken for everybody."""
    for number in range(9):
        circuit.doubted("one way", number)
        if number % 2:
            circuit.succeeded(1, began=clock.now)
    assert not circuit.open


def test_most_of_the_last_messages_open_it(circuit: CircuitBreaker, clock: Clock) -> None:
    """If they failed alike, whatever the reason was, and not before the window is full."""
    for _ in range(9):
        circuit.failed("bug")
    assert not circuit.open
    circuit.failed("bug")
    assert circuit.open
    assert circuit.why == "10 of the last 10 messages failed alike: bug"


def test_half_of_them_do_not(circuit: CircuitBreaker, clock: Clock) -> None:
    """Nor do many different failures, each of which is a problem of its own."""
    for number in range(40):
        circuit.failed("bug")
        circuit.succeeded(1, began=clock.now)
        circuit.failed(f"another bug {number}")
        circuit.succeeded(1, began=clock.now)
    assert not circuit.open


def test_one_trial_at_a_time(circuit: CircuitBreaker, clock: Clock) -> None:
    """The pauses between them grow, up to the longest."""
    assert circuit.admits("anybody")
    assert not circuit.due()
    circuit.trip("broken")
    pauses = []
    for trial in range(5):
        assert not circuit.admits("anybody")
        began = clock.now
        while not circuit.due():
            clock.now += 0.25
        pauses.append(clock.now - began)
        circuit.begin_trial(trial)
        assert circuit.admits(trial)
        assert not circuit.admits("anybody")
        clock.now += 60  # so long it takes
        assert not circuit.due()
        circuit.end_trial("anybody")
        assert circuit.admits(trial)
        circuit.end_trial(trial)
        assert not circuit.admits(trial)
    assert pauses == [0.5, 1, 2, 2, 2]


def test_it_closes_when_one_gets_through(
    circuit: CircuitBreaker, clock: Clock, gauge: Gauge
) -> None:
    """It is said once when it opens and once when it closes, and begins anew then."""
    with capture_logs() as logs:
        circuit.trip("broken", everybody=True)
        circuit.trip("still broken")
        for number in range(20):
            circuit.failed("bug")
            circuit.doubted("one way", number)
        assert value(gauge) == 1
        assert circuit.everybody
        clock.now += 7
        circuit.succeeded(1, began=clock.now)
        circuit.close()
    assert value(gauge) == 0
    assert not circuit.open
    assert circuit.admits("anybody")
    assert [(each["event"], each["circuit"]) for each in logs] == [
        ("consumer.paused", "kind"),
        ("consumer.resumed", "kind"),
    ]
    assert (logs[0]["why"], logs[1]["seconds"]) == ("broken", 7)
    circuit.failed("bug")
    circuit.doubted("one way", 1)
    assert not circuit.open


@pytest.mark.parametrize(("ago", "closed"), [(4.5, False), (3.5, True)])
def test_what_began_after_the_first_of_them_failed_closes_it(
    circuit: CircuitBreaker,
    clock: Clock,
    ago: float,
    closed: bool,  # noqa: FBT001
) -> None:
    """It shows that they do not fail because all do, though it was done later."""
    for number in (1, 2, 1, 3):
        clock.now += 1
        circuit.doubted("one way", number)
    clock.now += 1
    circuit.succeeded(1, began=clock.now - ago)
    assert circuit.open is not closed


def test_what_is_proved_closes_it(circuit: CircuitBreaker) -> None:
    """If it is why it opened, and not something else."""
    for number in range(3):
        circuit.doubted("one way", number)
    circuit.proved("another way")
    assert circuit.open
    circuit.proved("one way")
    assert not circuit.open
    circuit.trip("broken")
    circuit.proved("one way")
    assert circuit.open


def test_what_began_before_it_opened_does_not_close_it(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    """It may have done before what nobody can do now."""
    circuit.trip("broken")
    circuit.succeeded(1, began=clock.now - 0.1)
    assert circuit.open
