"""Exchanges and queues as data: one declaration that means the same from RabbitMQ 3.10 to 4."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_EXCHANGE = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue.

    Args:
        name: of the queue.
        dead_letter_to: where the broker moves what it gives up: a queue, by the default exchange,
            which is always there; a missing exchange would drop the message silently.
        delivery_limit: how often the broker delivers before it gives up.
        ttl: seconds after which the broker gives up.
        bindings: types of messages that the exchange copies here.
    """

    name: str
    dead_letter_to: str | None = None
    delivery_limit: int | None = None
    ttl: float | None = None
    bindings: tuple[str, ...] = ()

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments of the declaration."""
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        if self.dead_letter_to is not None:
            arguments |= {
                "x-dead-letter-exchange": DEFAULT_EXCHANGE,
                "x-dead-letter-routing-key": self.dead_letter_to,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",  # at-least-once needs it
            }
        if self.delivery_limit is not None:
            arguments["x-delivery-limit"] = self.delivery_limit
        if self.ttl is not None:
            arguments["x-message-ttl"] = round(self.ttl * 1000)
        return arguments


@dataclass(frozen=True, slots=True)
class Topology:
    """What one service declares: an exchange, its queue, its retry ladder, its dead letters."""

    exchange: str
    main: Queue
    ladder: tuple[Queue, ...]
    dead_letters: Queue

    @classmethod
    def of(
        cls, service: str, types: Iterable[str], *, ladder: Iterable[float], delivery_limit: int
    ) -> "Topology":
        """The topology of a service that handles these types of messages."""
        dead_letters = Queue(f"{service}.dead-letters")
        return cls(
            exchange="events",
            main=Queue(
                service,
                dead_letter_to=dead_letters.name,
                delivery_limit=delivery_limit,
                bindings=tuple(sorted(types)),
            ),
            ladder=tuple(
                Queue(f"{service}.retry.{_short(delay)}", dead_letter_to=service, ttl=delay)
                for delay in ladder
            ),
            dead_letters=dead_letters,
        )

    def __iter__(self) -> Iterator[Queue]:
        yield self.dead_letters
        yield self.main
        yield from self.ladder


def _short(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "m"), (1, "s")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"
