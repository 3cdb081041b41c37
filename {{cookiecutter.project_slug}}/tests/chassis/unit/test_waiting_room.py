"""Deliveries wait for a time or for a circuit, keep no worker meanwhile, and are not forgotten."""

import pytest
from prometheus_client import Gauge

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.circuit_breaker import CircuitBreaker
from acme_orders.chassis.messaging.memory import MemoryDelivery
from acme_orders.chassis.messaging.waiting_room import WaitingRoom

from tests.chassis.unit.test_circuit_breaker import Clock, circuit, clock, gauge

__all__ = ["circuit", "clock", "gauge"]

LONGEST = 100.0


def delivery() -> MemoryDelivery:
    """One of its own."""
    return MemoryDelivery(Message(b""), "q", 0, lambda *_: None)


@pytest.fixture
def room() -> WaitingRoom:
    """For five."""
    return WaitingRoom(capacity=5, longest=LONGEST)


def test_a_time(room: WaitingRoom, clock: Clock) -> None:
    """Until it is over, not longer, and each delivery is called once."""
    first, second = delivery(), delivery()
    room.add(first, 2.0)
    room.add(second, 1.0)
    assert room.called() == []
    clock.now += 1
    assert room.called() == [second]
    clock.now += 1
    assert room.called() == [first]
    assert room.called() == []


def test_a_circuit_that_closes(room: WaitingRoom, circuit: CircuitBreaker) -> None:
    """All that waited for it are called."""
    circuit.trip("broken")
    waiting = [delivery() for _ in range(4)]
    for each in waiting:
        room.add(each, circuit)
    assert room.called() == []
    circuit.close()
    assert room.called() == waiting


def test_trials(room: WaitingRoom, circuit: CircuitBreaker, clock: Clock) -> None:
    """Who was tried least often, and of those the newest: each time another one."""
    circuit.trip("broken")
    waiting = []
    for _ in range(3):
        clock.now += 0.01
        waiting.append(delivery())
        room.add(waiting[-1], circuit)
    tried = []
    for _ in range(6):
        clock.now += 10
        (trial,) = room.called()
        assert room.called() == []
        assert circuit.admits(trial)
        circuit.end_trial(trial)
        tried.append(waiting.index(trial))  # type: ignore[arg-type]
        room.add(trial, circuit)
    assert tried == [2, 1, 0, 2, 1, 0]


def test_a_delivery_whose_channel_is_gone(room: WaitingRoom, circuit: CircuitBreaker) -> None:
    """It comes again with another one, so nobody waits for it, and it is no trial."""
    circuit.trip("broken")
    lost, waiting = delivery(), delivery()
    for each in (lost, waiting):
        room.add(each, circuit)
    room.add(late := delivery(), 50.0)
    lost.open = late.open = False
    assert room.called() == [lost, late]
    assert room.everyone() == [waiting]


def test_who_waits_too_long_has_to_go(
    room: WaitingRoom, circuit: CircuitBreaker, clock: Clock
) -> None:
    """For a circuit; what waits for a time is decided about before, or it goes later."""
    circuit.trip("broken")
    room.add(first := delivery(), circuit)
    room.add(second := delivery(), 1000.0)
    clock.now += LONGEST + 1
    assert list(room.tired()) == [first]
    room.leave(first)
    assert room.everyone() == [second]
    clock.now += LONGEST
    assert list(room.tired()) == [second]


def test_the_time_of_all_trials_counts(
    room: WaitingRoom, circuit: CircuitBreaker, clock: Clock
) -> None:
    """The broker counts it as well."""
    circuit.trip("broken")
    room.add(first := delivery(), circuit)
    for _ in range(6):
        clock.now += LONGEST / 5
        (trial,) = room.called()
        circuit.end_trial(trial)
        room.add(trial, circuit)
    assert list(room.tired()) == [first]


def test_who_keeps_others_out_has_to_go_sooner(
    room: WaitingRoom, circuit: CircuitBreaker, gauge: Gauge, clock: Clock
) -> None:
    """The others may be good; but not if no message at all can succeed."""
    circuit.trip("broken")
    waiting = [delivery() for _ in range(5)]
    for each in waiting[:4]:
        room.add(each, circuit)
    clock.now += 6
    assert list(room.tired()) == []
    room.add(waiting[4], circuit)
    assert list(room.tired()) == waiting[:4]
    everybody = CircuitBreaker("all", gauge, limit=0.5, window=10, longest_pause=1)
    everybody.trip("outage", everybody=True)
    other = WaitingRoom(capacity=2, longest=LONGEST)
    for each in waiting[:2]:
        other.add(each, everybody)
    clock.now += 60
    assert list(other.tired()) == []
