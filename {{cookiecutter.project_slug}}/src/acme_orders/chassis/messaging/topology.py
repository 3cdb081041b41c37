"""Exchanges and queues as data: one declaration that means the same from RabbitMQ 3.10 to 4."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_EXCHANGE = ""
EXCHANGE = "events"
EXCHANGE_TYPE = "topic"
GRACE = 2.0  # seconds; whoever replaces a queue deletes it first, and is not to be forestalled


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
class Problem:
    """How an exchange or a queue is not what this version declares.

    Args:
        what: is wrong.
        helps: against it.
        loses: whether messages can be lost because of it, or do not arrive.
        restorable: whether it only has to be declared again.
    """

    what: str
    helps: str
    loses: bool = True
    restorable: bool = False


UNCONSUMED = "nobody takes them: does a process with the consumer run?"
MISSING = Problem("is missing", "the service declares it when it starts", restorable=True)


@dataclass(frozen=True, slots=True)
class State:
    """An exchange or a queue as the broker has it.

    Args:
        name: of it.
        queue: as it should be; None for an exchange.
        problems: what is wrong with it.
        messages: that wait in it.
        consumers: that it has.
    """

    name: str
    queue: Queue | None = None
    problems: tuple[Problem, ...] = ()
    messages: int = 0
    consumers: int = 0

    @property
    def part(self) -> str:
        """What people call it."""
        return f"{'queue' if self.queue else 'exchange'} {self.name}"

    @property
    def unconsumed(self) -> bool:
        """Whether messages wait in it for somebody; the broker itself empties one with a ttl."""
        waits = bool(self.messages) and not self.consumers
        return waits and self.queue is not None and self.queue.ttl is None

    @property
    def problem(self) -> str | None:
        """All that is wrong with it, in words."""
        return "; ".join(each.what for each in self.problems) or None


@dataclass(frozen=True, slots=True)
class Topology:
    """What one service declares.

    Args:
        exchange: where events are published, and its queue is bound.
        main: messages to be processed.
        ladder: failed messages, by how long they wait for the next attempt.
        dead_letters: messages that need somebody's decision.
        suspects: messages that came back too often; they may be what kills the process.
    """

    exchange: str
    main: Queue
    ladder: tuple[Queue, ...]
    dead_letters: Queue
    suspects: Queue

    @classmethod
    def of(
        cls,
        service: str,
        types: Iterable[str],
        *,
        ladder: Iterable[float],
        delivery_limit: int,
        suspect_deliveries: int,
    ) -> "Topology":
        """The topology of a service that handles these types of messages.

        Args:
            service: name of the main queue, and prefix of the others.
            types: of messages; each is a routing key.
            ladder: seconds between one attempt and the next.
            delivery_limit: of the main queue.
            suspect_deliveries: of a suspect, before it becomes a dead letter.
        """
        # Without a limit of ours RabbitMQ 4 would drop a dead letter after 20 returns.
        dead_letters = Queue(f"{service}.dead-letters", delivery_limit=1_000_000)
        return cls(
            exchange=EXCHANGE,
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
            suspects=Queue(
                f"{service}.suspect",
                dead_letter_to=dead_letters.name,
                delivery_limit=suspect_deliveries - 1,  # RabbitMQ counts how often it came back
            ),
        )

    def __iter__(self) -> Iterator[Queue]:
        yield self.dead_letters
        yield self.main
        yield self.suspects
        yield from self.ladder


def _short(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "m"), (1, "s")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"
