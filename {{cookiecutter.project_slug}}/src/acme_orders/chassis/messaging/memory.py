"""A broker inside the process, for demos and unit tests. Nothing of it survives the process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from acme_orders.chassis.errors import BrokerUnavailable, Unroutable
from acme_orders.chassis.messaging.broker import Delivery, Message, Publish
from acme_orders.chassis.messaging.topology import (
    DEFAULT_EXCHANGE,
    MISSING,
    Queue,
    State,
)


@dataclass(eq=False)
class MemoryDelivery:
    """A delivery whose settlement the queue is told of."""

    message: Message
    queue: str
    returns: int
    _settle: Callable[["MemoryDelivery", bool], None]
    open: bool = True

    async def ack(self) -> None:
        """Forget the message."""
        self._end(requeue=False)

    async def release(self) -> None:
        """Put the message back."""
        self._end(requeue=True)

    def _end(self, *, requeue: bool) -> None:
        if self.open:
            self.open = False
            self._settle(self, requeue)


@dataclass(eq=False)
class MemorySubscription:
    """A consumer and what it has not settled."""

    deliver: Callable[[Delivery], None]
    prefetch: int
    unsettled: set[MemoryDelivery] = field(default_factory=set)
    active: bool = True

    async def cancel(self) -> None:
        """Stop delivering."""
        self.active = False

    async def restart(self) -> None:
        """Give back what is not settled."""
        for delivery in list(self.unsettled):
            await delivery.release()

    async def close(self) -> None:
        """Stop delivering, and give back what is not settled."""
        await self.cancel()
        await self.restart()


@dataclass(eq=False)
class _Waiting:
    declared: Queue
    messages: deque[tuple[Message, int]] = field(default_factory=deque)
    subscriptions: list[MemorySubscription] = field(default_factory=list)


class MemoryBroker:
    """Queues in memory, with bindings by exact type, prefetch, and time to live."""

    def __init__(self) -> None:
        self._queues: dict[str, _Waiting] = {}

    @property
    def connected(self) -> bool:
        """Always."""
        return True

    @property
    def publishing(self) -> bool:
        """Always."""
        return True

    @property
    def consuming(self) -> set[str]:
        """Queues that deliver."""
        return {
            name
            for name, waiting in self._queues.items()
            if any(each.active for each in waiting.subscriptions)
        }

    async def declare(self, exchange: str, queues: Iterable[Queue]) -> None:  # noqa: ARG002
        """Create what is missing; there is one exchange."""
        for queue in queues:
            self._queues.setdefault(queue.name, _Waiting(queue))

    @property
    def unseen(self) -> str | None:
        """Nothing is."""
        return None

    async def inspect(self, exchange: str, queues: Iterable[Queue]) -> list[State]:
        """Look at the exchange and at each queue."""
        found = [State(exchange)]
        for queue in queues:
            if waiting := self._queues.get(queue.name):
                consumers = sum(each.active for each in waiting.subscriptions)
                found.append(State(queue.name, queue, (), len(waiting.messages), consumers))
            else:
                found.append(State(queue.name, queue, (MISSING,)))
        return found

    async def restore(self) -> None:
        """Nothing is ever deleted."""

    async def bind(self, queues: Iterable[Queue]) -> None:
        """Nothing is ever unbound."""

    async def consume(
        self, queue: str, *, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> MemorySubscription:
        """Deliver from now on; raises BrokerUnavailable if there is no such queue."""
        if queue not in self._queues:
            raise BrokerUnavailable(f"cannot consume from {queue}: declare it first")
        subscription = MemorySubscription(deliver, prefetch)
        self._queues[queue].subscriptions.append(subscription)
        self._dispatch(queue)
        return subscription

    async def ack(self, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """One after the other."""
        lost = set()
        for delivery in deliveries:
            try:
                await delivery.ack()
            except BrokerUnavailable:
                lost.add(delivery)
        return lost

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Hand the message to every queue that it is meant for.

        Raises:
            Unroutable: no queue is.
        """
        names = [
            name
            for name, waiting in self._queues.items()
            if (name == routing_key if exchange == DEFAULT_EXCHANGE
                else routing_key in waiting.declared.bindings)
        ]  # fmt: skip
        if not names:
            raise Unroutable(f"no queue is bound to {routing_key!r} on exchange {exchange!r}")
        for name in names:
            self._enqueue(name, message)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[Publish]:
        """There is no connection that could end."""
        yield self.publish

    async def ping(self) -> None:
        """It always answers."""

    async def count(self, queue: str) -> int:
        """How many wait; none in a queue that is not there."""
        return len(self._queues[queue].messages) if queue in self._queues else 0

    def _enqueue(self, name: str, message: Message) -> None:
        waiting = self._queues[name]
        entry = (message, 0)
        waiting.messages.append(entry)
        if waiting.declared.ttl is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(waiting.declared.ttl, self._expire, name, entry)
        self._dispatch(name)

    def _expire(self, name: str, entry: tuple[Message, int]) -> None:
        waiting = self._queues[name]
        if entry in waiting.messages and waiting.declared.dead_letter_to:
            waiting.messages.remove(entry)
            self._enqueue(waiting.declared.dead_letter_to, entry[0])

    def _dispatch(self, name: str) -> None:
        waiting = self._queues[name]
        for subscription in waiting.subscriptions:
            while (
                subscription.active
                and waiting.messages
                and len(subscription.unsettled) < subscription.prefetch
            ):
                message, returns = waiting.messages.popleft()
                delivery = MemoryDelivery(message, name, returns, self._settle)
                subscription.unsettled.add(delivery)
                subscription.deliver(delivery)

    def _settle(self, delivery: MemoryDelivery, requeue: bool) -> None:  # noqa: FBT001
        waiting = self._queues[delivery.queue]
        for subscription in waiting.subscriptions:
            if delivery in subscription.unsettled:
                subscription.unsettled.discard(delivery)
                if requeue:
                    waiting.messages.appendleft((delivery.message, delivery.returns + 1))
        self._dispatch(delivery.queue)
