"""The broker port on RabbitMQ, through aio-pika."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aio_pika.exceptions import ChannelNotFoundEntity

from acme_orders.chassis.errors import ChannelDenied, Unroutable
from acme_orders.chassis.messaging.broker import Delivery, Message, Publish
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE, Queue, State
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.rabbitmq.addresses import nodes
from acme_orders.chassis.rabbitmq.answers import answered, goodbye, within
from acme_orders.chassis.rabbitmq.declarations import Declarations
from acme_orders.chassis.rabbitmq.link import Link
from acme_orders.chassis.rabbitmq.management import Management
from acme_orders.chassis.rabbitmq.properties import tolerate
from acme_orders.chassis.rabbitmq.publisher import Publisher
from acme_orders.chassis.rabbitmq.settings import BrokerSettings
from acme_orders.chassis.rabbitmq.subscription import (
    RabbitSubscription,
    ack_together,
)
from acme_orders.chassis.supervision import Supervisor

_CLOSE = 1.0  # seconds; a channel is closed in milliseconds, or with its connection
_PING = 2.0  # seconds; a broker that is well answers in milliseconds


class RabbitBroker:
    """Several connections: a broker short of memory stops those that publish, but not acks.

    Args:
        consuming: connection for deliveries and acks.
        publishing: connection for publishes.
        declarations: on a third one, which may break because of a mistake.
        publish_timeout: seconds; a blocked broker never answers.
        supervisor: of the tasks that keep subscriptions.
    """

    def __init__(
        self,
        *,
        consuming: Link,
        publishing: Link,
        declarations: Declarations,
        publish_timeout: float,
        supervisor: Supervisor,
    ) -> None:
        self._consuming, self._publishing = consuming, publishing
        self._declarations, self._supervisor = declarations, supervisor
        self._patience = publish_timeout
        self._subscriptions: list[RabbitSubscription] = []
        self._publisher = Publisher(
            partial(publishing.channel, confirms=True), patience=publish_timeout
        )

    @property
    def connected(self) -> bool:
        """Whether messages come and go: both connections are open, every consumer is served."""
        return (
            self._consuming.connected
            and self._publishing.connected
            and all(each.active for each in self._subscriptions)
        )

    @property
    def publishing(self) -> bool:
        """Whether the connection for publishes is open."""
        return self._publishing.connected

    @property
    def consuming(self) -> set[str]:
        """Queues that deliver to this process, as far as it knows."""
        return {each.queue for each in self._subscriptions if each.active and not each.ended}

    @property
    def unseen(self) -> str | None:
        """Why `inspect` has not seen bindings and policies; None if it has."""
        return self._declarations.unseen

    async def declare(self, exchange: str, queues: Iterable[Queue]) -> None:
        """Create what is missing; see `Declarations.declare` for the errors."""
        await self._declarations.declare(exchange, queues)

    async def inspect(self, exchange: str, queues: Iterable[Queue]) -> list[State]:
        """Look at the exchange and at each queue without creating or changing any."""
        return await self._declarations.inspect(exchange, queues)

    async def restore(self) -> None:
        """Declare again what was declared and is missing."""
        await self._declarations.restore()

    async def bind(self, queues: Iterable[Queue]) -> None:
        """Bind queues again."""
        await self._declarations.bind(queues)

    async def consume(
        self, queue: str, *, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> RabbitSubscription:
        """Consume on a channel of its own."""
        subscription = RabbitSubscription(
            self._consuming,
            queue,
            prefetch=prefetch,
            deliver=deliver,
            declare=self._declarations.restore,
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
        return await self._declarations.count(queue)

    async def _publish(
        self, publisher: Publisher, message: Message, *, exchange: str, routing_key: str
    ) -> None:
        try:
            await publisher.publish(message, exchange=exchange, routing_key=routing_key)
        except ChannelDenied as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):  # somebody deleted the exchange
                await self._declarations.restore()
            raise
        except Unroutable:
            if exchange != DEFAULT_EXCHANGE or routing_key not in self._declarations:
                raise
            await self._declarations.restore()  # somebody deleted the queue
            await publisher.publish(message, exchange=exchange, routing_key=routing_key)


@asynccontextmanager
async def connect(
    settings: BrokerSettings,
    *,
    service: str,
    metrics: Metrics,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[RabbitBroker]:
    """Connect, and close the connections at the end.

    Args:
        settings: where it is, and how long it may be silent.
        service: name of the connections, as RabbitMQ's management shows them.
        metrics: where reconnects are counted.
        supervisor: of the tasks that keep connections and subscriptions.

    Raises:
        ConfigurationError: the address cannot be read.
        BrokerUnavailable: RabbitMQ does not answer or refuses us.
    """
    tolerate()
    where, supervisor = nodes(settings.broker_url), supervisor or Supervisor(metrics)
    virtual_host = where[0].path.removeprefix("/") or "/"
    shown = settings.rabbitmq_management_url
    management = Management(shown, virtual_host) if shown else None
    async with AsyncExitStack() as stack:
        consuming, publishing, declaring = [
            await stack.enter_async_context(
                Link(
                    where,
                    name=service,
                    role=role,
                    heartbeat=settings.heartbeat,
                    metrics=metrics,
                    supervisor=supervisor,
                )
            )
            for role in ("consume", "publish", "declare")
        ]
        broker = RabbitBroker(
            consuming=consuming,
            publishing=publishing,
            declarations=Declarations(declaring, management, metrics),
            publish_timeout=settings.publish_timeout,
            supervisor=supervisor,
        )
        stack.push_async_callback(broker.end)
        yield broker
