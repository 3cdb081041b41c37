"""A service that is moved by hand, one step at a time, and says what became of each message."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.circuit_breaker import CircuitBreaker
from acme_orders.chassis.messaging.envelope import Payload, encode
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE, Queue
from acme_orders.chassis.messaging.waiting_room import Held
from acme_orders.chassis.process.service import Service

Result = TypeVar("Result")
Body = TypeVar("Body", bound=Payload)
Content = Payload | Mapping[str, Any]
_ALL = 1_000_000  # deliveries; none is held back
_ROUNDS = 100  # of messages that follow from messages


@dataclass(frozen=True)
class MessageOutcome:
    """What became of a message.

    Args:
        status: as the metric `messages_processed_total` calls it.
        message: as it is now; for the next attempt, process it again.
        reason: of a dead letter, such as `refused`.
        error: of the decoder, the handler or COMMIT.
        after: seconds until the next attempt.
    """

    status: Literal["done", "duplicate", "retried", "dead_lettered"]
    message: Message = field(repr=False)
    reason: str | None = None
    error: BaseException | None = None
    after: float | None = None


class ByHand:
    """Takes everything that comes to the queues of a service, and processes it when it is told.

    Args:
        service: connected; its broker is in memory, where what was published has arrived.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._publishes = [each for one in service.slices for each in one.publishes]
        self._due, self._events = list[Delivery](), list[Delivery]()
        self._copies: list[tuple[Delivery, BaseException | None]] = []
        self._last_error: Exception | None = None

    async def listen(self) -> None:
        """Begin to take messages, and events of all types that slices publish."""
        topology, broker = self._service.topology, self._service.broker
        types = tuple(each.name for each in self._publishes)
        events = Queue(f"{topology.main.name}.events", bindings=types)
        await broker.declare(topology.exchange, [events])
        takers: dict[Queue, Callable[[Delivery], None]] = {
            events: self._events.append,
            topology.main: self._due.append,
            topology.dead_letters: self._keep,
            **dict.fromkeys(topology.ladder, self._keep),
        }
        for queue, deliver in takers.items():
            await broker.consume(queue.name, prefetch=_ALL, deliver=deliver)
        self._service.manager.observe(self._note)

    def message(
        self,
        content: Content,
        type_: str | None,
        identity: str | UUID | None,
        extensions: Mapping[str, str],
    ) -> Message:
        """A message as another service sends it; see `ServiceUnderTest.message`."""
        handlers = self._service.handlers
        fits = [type_] if type_ else [t for t, h in handlers.items() if h.payload is type(content)]
        if len(fits) != 1:
            raise LookupError(
                f"{len(fits)} handlers take a {type(content).__name__}: say type_=…, or name its "
                f"handler in `handlers` in slice.py; there are handlers of {', '.join(handlers)}"
            )
        said, now, body = str(identity or uuid4()), datetime.now(UTC), as_json(content)
        return encode(said, fits[0], "testing", now, body, extensions=extensions)

    async def process(self, messages: Sequence[Message]) -> list[MessageOutcome]:
        """Process these messages in one batch, and publish their events; see `drain`."""
        broker, queue = self._service.broker, self._service.topology.main.name
        for message in messages:
            await broker.publish(message, exchange=DEFAULT_EXCHANGE, routing_key=queue)
        ours = {id(message) for message in messages}
        outcomes = await self._process([each for each in self._due if id(each.message) in ours])
        await self._publish()
        return outcomes

    async def drain(self) -> list[MessageOutcome]:
        """Publish all events, and process what comes of them here, until nothing is left.

        Raises:
            RuntimeError: there is no end; or something is broken for which no message pays, and
                they would wait.
        """
        outcomes = list[MessageOutcome]()
        for _ in range(_ROUNDS):
            await self._publish()
            if not self._due:
                return outcomes
            outcomes += await self._process(list(self._due))
        raise RuntimeError(
            f"after {_ROUNDS} rounds {outcomes[-1].message.type!r} still leads to new messages: "
            "let no handler publish what leads back to its own message"
        )

    def published(self, kind: type[Body], extensions: Mapping[str, str]) -> list[Body]:
        """Events of this kind that have these extensions; see `ServiceUnderTest.published`."""
        names = {each.name for each in self._publishes if each.payload is kind}
        if not names:
            raise LookupError(
                f"{kind.__name__} is no event: name it in `publishes` in slice.py; there are "
                f"{', '.join(each.payload.__name__ for each in self._publishes)}"
            )
        said = {f"cloudEvents:{name}": text for name, text in extensions.items()}.items()
        heard = [each.message for each in self._events]
        ours = [each for each in heard if each.type in names and said <= each.headers.items()]
        return [kind.model_validate_json(each.body) for each in ours]

    async def _publish(self) -> None:
        while await alone(self._service.relay.run_once()):
            pass

    async def _process(self, deliveries: Sequence[Delivery]) -> list[MessageOutcome]:
        consumer, known, seen = self._service.consumer, list[bool](), list[Any]()
        for each in deliveries:
            same = each.message.body, {**each.message.headers, "cloudEvents:time": None}
            known.append(same in seen or await alone(consumer.has_processed(each.message)))
            seen.append(same)
            self._due.remove(each)
        self._last_error, before = None, self._duplicates()
        if held := await alone(consumer.process(deliveries)):
            raise self._broken(held) from self._last_error
        pairs = zip(deliveries, known, strict=True)
        outcomes = [self._outcome(each.message, known=again) for each, again in pairs]
        skipped = self._duplicates() - before
        if (expected := sum(each.status == "duplicate" for each in outcomes)) != skipped:
            raise RuntimeError(f"{expected} of these were processed before, {skipped} were skipped")
        return outcomes

    def _duplicates(self) -> int:
        """How many messages the consumer has taken for duplicates, as it says itself."""
        (metric,) = self._service.metrics.messages_processed.collect()
        found = [each for each in metric.samples if each.name.endswith("_total")]
        return int(sum(each.value for each in found if each.labels["outcome"] == "duplicate"))

    def _outcome(self, message: Message, *, known: bool) -> MessageOutcome:
        waits = {queue.name: queue.ttl for queue in self._service.topology.ladder}
        for number, (copy, error) in enumerate(self._copies):
            now = copy.message
            if now.body is message.body and now.message_id == message.message_id:
                del self._copies[number]
                if copy.queue in waits:
                    return MessageOutcome("retried", now, error=error, after=waits[copy.queue])
                return MessageOutcome("dead_lettered", now, now.headers["dl-reason"], error)
        return MessageOutcome("duplicate" if known else "done", message)

    def _broken(self, held: Held) -> RuntimeError:
        (delivery, until), *_ = held.items()
        error = self._last_error
        why = f"{type(error).__name__}: {error}" if error else "the log says what it is"
        why = until.why if isinstance(until, CircuitBreaker) else why
        return RuntimeError(
            f"{delivery.message.type!r} would wait until this is mended, and spend no attempt: "
            f"{why}; start PostgreSQL, apply the migration, or grant the right"
        )

    def _keep(self, copy: Delivery) -> None:
        # It is published while the failure that has led to it is handled.
        self._copies.append((copy, sys.exception()))

    def _note(self, statement: Statement) -> None:
        self._last_error = statement.error or self._last_error


async def alone(work: Coroutine[Any, Any, Result]) -> Result:
    """Do it as in production, where no transaction and no scope of a test surrounds it."""
    return await asyncio.create_task(work, context=Context())


def as_json(content: Content) -> bytes:
    """What a producer writes: of a payload, or of any other body."""
    if isinstance(content, Payload):
        return content.model_dump_json(by_alias=True, round_trip=True).encode()
    return json.dumps(content, default=str).encode()
