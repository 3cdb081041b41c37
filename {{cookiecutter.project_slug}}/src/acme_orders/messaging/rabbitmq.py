"""The broker port on RabbitMQ, through aio-pika."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from acme_orders.errors import (
    ChannelDenied,
    ConfigurationError,
    PublishFailed,
)
from acme_orders.messaging.addresses import nodes
from acme_orders.messaging.answers import (
    ANSWER,
    answered,
    goodbye,
    within,
)
from acme_orders.messaging.broker import Delivery, Message, Publish
from acme_orders.messaging.link import Link
from acme_orders.messaging.properties import tolerate
from acme_orders.messaging.publisher import Publisher
from acme_orders.messaging.subscription import RabbitSubscription, ack_together
from acme_orders.messaging.topology import (
    DEFAULT_EXCHANGE,
    MISSING,
    Queue,
    QueueState,
)
from acme_orders.observability.metrics import Metrics
from acme_orders.supervision import Supervisor

_CLOSE = 1.0  # seconds; a channel is closed in milliseconds, or with its connection
_PING = 2.0  # seconds; a broker that is well answers in milliseconds
_INEQUIVALENT = re.compile(
    r"inequivalent arg '([^']+)' for (?:queue|exchange) .*received (.+) but current is (.+?)\"?$"
)


class RabbitBroker:
    """Two connections: a broker short of memory stops those that publish, and must not stop acks.

    Args:
        consuming: connection for deliveries and acks.
        publishing: connection for publishes.
        publish_timeout: seconds; a blocked broker never answers.
        supervisor: of the tasks that keep subscriptions.
    """

    def __init__(
        self, *, consuming: Link, publishing: Link, publish_timeout: float, supervisor: Supervisor
    ) -> None:
        self._consuming, self._publishing = consuming, publishing
        self._supervisor = supervisor
        self._patience = publish_timeout
        self._declared: dict[str, tuple[str, Queue]] = {}
        self._subscriptions: list[RabbitSubscription] = []
        self._publisher = Publisher(
            partial(publishing.channel, confirms=True), patience=publish_timeout
        )
        self._restoring = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether both connections are open and every consumer is being served."""
        return (
            self._consuming.connected
            and self._publishing.connected
            and all(each.active for each in self._subscriptions)
        )

    @property
    def publishing(self) -> bool:
        """Whether the connection for publishes is open."""
        return self._publishing.connected

    async def declare(self, exchange: str, queues: Iterable[Queue]) -> None:
        """Create what is missing, now and whenever a queue turns out to have been deleted.

        Raises:
            ConfigurationError: something of that name is there with other arguments.
            BrokerUnavailable: no answer.
        """
        self._declared |= {queue.name: (exchange, queue) for queue in queues}
        problems = [await self._declare_exchange(exchange)]
        for place, queue in self._declared.values():
            problems.append(await self._declare_queue(place, queue))
        if found := [problem for problem in problems if problem]:
            raise ConfigurationError(
                "RabbitMQ has something else than this version declares:\n  "
                + "\n  ".join(found)
                + "\nDelete it when it is empty, or set it right; `topology` shows all of it"
            )

    async def inspect(self, queues: Iterable[Queue]) -> list[QueueState]:
        """Look at each queue without creating or changing any."""
        return [await self._look_at(queue) for queue in queues]

    async def consume(
        self, queue: str, *, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> RabbitSubscription:
        """Consume on a channel of its own."""
        subscription = RabbitSubscription(
            self._consuming,
            queue,
            prefetch=prefetch,
            deliver=deliver,
            declare=self._declare_again,
            supervisor=self._supervisor,
        )
        await subscription.start()
        self._subscriptions = [each for each in self._subscriptions if not each.ended]
        self._subscriptions.append(subscription)
        return subscription

    async def end(self) -> None:
        """Begin to consume no more; the connections are closed next."""
        for each in self._subscriptions:
            await each.end()

    async def ack(self, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """Acknowledge the deliveries of each channel together."""
        return await ack_together(deliveries)

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Publish and wait for the confirm; see `Publisher.publish` for the errors."""
        await self._publish(self._publisher, message, exchange=exchange, routing_key=routing_key)

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[Publish]:
        """Publish on a connection that is for this block alone."""
        async with self._publishing.another() as connection:
            open_channel = partial(connection.channel, confirms=True)
            yield partial(self._publish, Publisher(open_channel, patience=self._patience))

    async def ping(self) -> None:
        """Return when RabbitMQ has answered on the connection for publishes."""
        with answered("RabbitMQ does not answer"):
            channel = await within(_PING, self._publishing.channel())
        await goodbye(_CLOSE, channel.close())

    async def count(self, queue: str) -> int:
        """How many messages wait in a queue, not counting those being processed."""
        return (await self._look_at(Queue(queue), passive=True)).messages

    async def _publish(
        self, publisher: Publisher, message: Message, *, exchange: str, routing_key: str
    ) -> None:
        try:
            await publisher.publish(message, exchange=exchange, routing_key=routing_key)
        except ChannelDenied as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):  # somebody deleted the exchange
                await self._declare_again()
            raise
        except PublishFailed:
            if exchange != DEFAULT_EXCHANGE or routing_key not in self._declared:
                raise
            # One at a time: RabbitMQ says that a quorum queue is there before it takes messages,
            # to all but the one that creates it.
            async with self._restoring:
                problem = await self._declare_queue(*self._declared[routing_key])
            if problem:
                raise PublishFailed(f"cannot restore {routing_key!r}: {problem}") from None
            await publisher.publish(message, exchange=exchange, routing_key=routing_key)

    async def _declare_again(self) -> None:
        for exchange in {exchange for exchange, _ in self._declared.values()}:
            await self.declare(exchange, ())

    async def _declare_exchange(self, name: str) -> str | None:
        async with self._scratch_channel() as channel:
            try:
                await within(ANSWER, channel.declare_exchange(name, "topic", durable=True))
            except ChannelPreconditionFailed as error:
                return f"exchange {name}: {_difference(error)}"
        return None

    async def _declare_queue(self, exchange: str, queue: Queue) -> str | None:
        async with self._scratch_channel() as channel:
            try:
                declared = await within(ANSWER, _declaration(channel, queue))
            except ChannelPreconditionFailed as error:
                return f"queue {queue.name}: {_difference(error)}"
            for type_ in queue.bindings:
                await within(ANSWER, declared.bind(exchange, type_))
        return None

    async def _look_at(self, queue: Queue, *, passive: bool = False) -> QueueState:
        async with self._scratch_channel() as channel:
            try:
                found = await within(ANSWER, channel.declare_queue(queue.name, passive=True))
                result = found.declaration_result
                state = QueueState(
                    queue, None, result.message_count or 0, result.consumer_count or 0
                )
                if not passive:
                    await within(ANSWER, _declaration(channel, queue))
            except ChannelNotFoundEntity:
                return QueueState(queue, MISSING)
            except ChannelPreconditionFailed as error:
                return QueueState(queue, _difference(error), state.messages, state.consumers)
        return state

    @asynccontextmanager
    async def _scratch_channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel that RabbitMQ may close, as it does when a declaration does not fit."""
        channel = await self._consuming.channel()
        try:
            with answered("RabbitMQ does not answer or refuses"):
                yield channel
        finally:
            await goodbye(_CLOSE, channel.close())


def _declaration(channel: AbstractChannel, queue: Queue) -> Coroutine[Any, Any, AbstractQueue]:
    return channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))


def _difference(error: ChannelPreconditionFailed) -> str:
    """What is other than it should be, in words."""
    if found := _INEQUIVALENT.search(str(error)):
        argument, wanted, there = (part.strip("'\"") for part in found.groups())
        return f"{argument} is {there}, this version declares {wanted}"
    return str(error)


@asynccontextmanager
async def connect(
    url: str,
    *,
    service: str,
    heartbeat: int,
    publish_timeout: float,
    metrics: Metrics,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[RabbitBroker]:
    """Connect, and close both connections at the end.

    Args:
        url: `amqp://user:password@host:port/vhost`; several `host:port`, separated by commas.
        service: name of the connections, as RabbitMQ's management shows them.
        heartbeat: seconds; a silent network is noticed after three of them and a bit.
        publish_timeout: seconds.
        metrics: where reconnects are counted.
        supervisor: of the tasks that keep connections and subscriptions.

    Raises:
        ConfigurationError: the address cannot be read.
        BrokerUnavailable: RabbitMQ does not answer or refuses us.
    """
    tolerate()
    where, supervisor = nodes(url), supervisor or Supervisor(metrics)
    async with AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(
                Link(
                    where,
                    name=service,
                    role=role,
                    heartbeat=heartbeat,
                    metrics=metrics,
                    supervisor=supervisor,
                )
            )
            for role in ("consume", "publish")
        ]
        broker = RabbitBroker(
            consuming=links[0],
            publishing=links[1],
            publish_timeout=publish_timeout,
            supervisor=supervisor,
        )
        stack.push_async_callback(broker.end)
        yield broker
