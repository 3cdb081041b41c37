"""What the rest of the service needs of a message broker. Small, so that there can be two."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from acme_orders.chassis.messaging.topology import Queue, State


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it travels: a body and what is said about it. Nothing of it is trusted.

    `expiration` and `user_id` are those of a delivery; nothing is published with them.
    """

    body: bytes
    message_id: str | None = None
    type: str | None = None
    app_id: str | None = None
    timestamp: datetime | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str | None = "application/json"
    content_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    expiration: str | None = None
    user_id: str | None = None


class Delivery(Protocol):
    """One attempt of the broker to hand over a message. Settle it exactly once."""

    @property
    def message(self) -> Message:
        """What was delivered."""

    @property
    def queue(self) -> str:
        """Where it came from."""

    @property
    def returns(self) -> int:
        """How often it was delivered before and came back: a process died, a connection broke."""

    @property
    def open(self) -> bool:
        """Whether it can be settled: it is not yet, and its channel is still there."""

    async def ack(self) -> None:
        """Tell the broker that it may forget the message; raises BrokerUnavailable."""

    async def release(self) -> None:
        """Give the message back to the queue; raises BrokerUnavailable."""


class Subscription(Protocol):
    """A running consumer. It comes back by itself after an outage."""

    async def cancel(self) -> None:
        """Ask for no more deliveries; those under way stay ours."""

    async def restart(self) -> None:
        """Give back what is not settled and begin anew, because nothing arrives any more."""

    async def close(self) -> None:
        """Give back what is not settled, for good; nobody takes deliveries any more."""


class Publish(Protocol):
    """Publishes a message and returns when the broker has taken responsibility."""

    async def __call__(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """See `Broker.publish`."""


class Broker(Protocol):
    """A connected message broker."""

    @property
    def connected(self) -> bool:
        """Whether it can be used right now."""

    @property
    def publishing(self) -> bool:
        """Whether messages can be published right now, whatever becomes of deliveries."""

    @property
    def consuming(self) -> Collection[str]:
        """Queues that deliver to this process, as far as it knows."""

    async def declare(self, exchange: str, queues: Iterable[Queue]) -> None:
        """Create what is missing; raises ConfigurationError if something else is there."""

    @property
    def unseen(self) -> str | None:
        """Why `inspect` has not seen bindings and policies; None if it has."""

    async def inspect(self, exchange: str, queues: Iterable[Queue]) -> list[State]:
        """Look at the exchange and at each queue, in this order, without changing any."""

    async def restore(self) -> None:
        """Declare again what was declared and is missing; raises BrokerUnavailable."""

    async def bind(self, queues: Iterable[Queue]) -> None:
        """Bind queues again, as they were declared; raises BrokerUnavailable."""

    async def consume(
        self, queue: str, *, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> Subscription:
        """Call `deliver` for each delivery, with at most `prefetch` of them not yet settled."""

    async def ack(self, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """Acknowledge deliveries with as few words as possible.

        Returns:
            Those whose ack was lost: they come back.
        """

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Return when the broker has taken responsibility.

        Raises:
            Unpublishable: no broker can take this message; nothing was sent.
            Unroutable: no queue is bound to this routing key.
            PublishFailed: a queue refused it.
            Unconfirmed: there was no answer in time; it may have arrived.
            BrokerUnavailable: it cannot be reached, or what was under way was lost.
        """

    def apart(self) -> AbstractAsyncContextManager[Publish]:
        """Publish on a connection of its own, for messages that may end it."""

    async def ping(self) -> None:
        """Return when the broker has answered; raises BrokerUnavailable."""

    async def count(self, queue: str) -> int:
        """How many messages wait in a queue; raises BrokerUnavailable."""
