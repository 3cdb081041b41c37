"""Deliveries in hand that are not at work: each waits for a time, or for a circuit to close."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from acme_orders.chassis.messaging.broker import Delivery
from acme_orders.chassis.messaging.circuit_breaker import CircuitBreaker

Until = float | CircuitBreaker  # seconds, or as long as it is open
Held = dict[Delivery, Until]

_SOON, _LATER = 5.0, 30.0  # seconds; then those that keep others out go to the end of their queue
_NEW = 60.0  # seconds that a circuit has been open; then they go there less often


@dataclass(eq=False, slots=True)
class _Guest:
    """A delivery that waits; `tries` counts how often it has come to wait."""

    delivery: Delivery
    since: float
    until: Until = 0.0
    due: float = 0.0
    tries: int = 0

    @property
    def circuit(self) -> CircuitBreaker | None:
        """The circuit that it waits for, if it is not a time."""
        return self.until if isinstance(self.until, CircuitBreaker) else None

    def rank(self) -> tuple[int, float]:
        """The lowest is the best trial: tried least often, so it differs most from what failed."""
        return (self.tries, -self.since)


class WaitingRoom:
    """Who waits for what, and for how long already.

    Args:
        capacity: how many deliveries there can be in hand; more do not arrive.
        longest: seconds that one may wait.
    """

    def __init__(self, *, capacity: int, longest: float) -> None:
        self._capacity, self._longest = capacity, longest
        self._waiting: dict[Delivery, _Guest] = {}
        self._called: dict[Delivery, _Guest] = {}  # who may have to wait once more

    def add(self, delivery: Delivery, until: Until) -> None:
        """Let a delivery wait, perhaps once more."""
        now = time.monotonic()
        guest = self._called.pop(delivery, None) or _Guest(delivery, since=now)
        guest.until, guest.tries = until, guest.tries + 1
        guest.due = now + until if isinstance(until, float) else now
        self._waiting[delivery] = guest

    def called(self) -> list[Delivery]:
        """Take out whose turn it is.

        Time is over, or the circuit has closed, or it is the trial; or the broker has taken the
        delivery back, and nobody needs to wait any more.
        """
        now, turn, trials = time.monotonic(), list[_Guest](), dict[CircuitBreaker, _Guest]()
        for guest in self._waiting.values():
            circuit = guest.circuit
            over = guest.due <= now if circuit is None else not circuit.open
            if over or not guest.delivery.open:
                turn.append(guest)
            elif circuit is not None and circuit.due():
                trials[circuit] = min(trials.get(circuit, guest), guest, key=_Guest.rank)
        for circuit, guest in trials.items():
            circuit.begin_trial(guest.delivery)
            turn.append(guest)
        for guest in turn:
            self._called[guest.delivery] = self._waiting.pop(guest.delivery)
        return [guest.delivery for guest in turn]

    def tired(self) -> Iterator[Delivery]:
        """Those that should go to the end of their queue; tell `leave` when they are there.

        They have waited so long that the broker might take them back. Or they wait for the circuit
        of their kind and keep out others, among which may be good ones, which would close it.
        """
        now, full = time.monotonic(), len(self._waiting) >= self._capacity
        for guest in list(self._waiting.values()):
            longest, circuit = self._longest, guest.circuit
            if circuit is None:
                longest *= 2  # somebody decides about it before
            elif full and not circuit.everybody:
                longest = min(longest, _SOON if circuit.seconds < _NEW else _LATER)
            if now - guest.since > longest and guest.delivery.open:
                yield guest.delivery

    def leave(self, delivery: Delivery) -> None:
        """It is settled, and waits no more."""
        self._waiting.pop(delivery, None)
        self._called.pop(delivery, None)

    def everyone(self) -> list[Delivery]:
        """All that wait."""
        return list(self._waiting)
