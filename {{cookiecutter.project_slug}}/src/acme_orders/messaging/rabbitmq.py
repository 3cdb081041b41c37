"""The broker port on RabbitMQ, through aio-pika."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aio_pika
from aio_pika.abc import (
    AbstractIncomingMessage,
    AbstractQueue,
    AbstractRobustChannel,
    AbstractRobustConnection,
)
from aio_pika.exceptions import AMQPError, ChannelPreconditionFailed, DeliveryError, PublishError
from yarl import URL

from acme_orders.errors import (
    BrokerUnavailable,
    ConfigurationError,
    PublishFailed,
)
from acme_orders.messaging.broker import Delivery, Message
from acme_orders.messaging.topology import DEFAULT_EXCHANGE, Topology

# What aio-pika raises when the connection or the channel is gone, or does not answer.
_OUTAGES = (AMQPError, OSError, RuntimeError, asyncio.InvalidStateError, TimeoutError)


class RabbitDelivery:
    """A delivery of aio-pika."""

    def __init__(self, incoming: AbstractIncomingMessage, queue: str) -> None:
        self._incoming, self.queue = incoming, queue
        self.redelivered = bool(incoming.redelivered)
        self.message = Message(
            body=incoming.body,
            message_id=incoming.message_id,
            type=incoming.type,
            app_id=incoming.app_id,
            timestamp=incoming.timestamp if isinstance(incoming.timestamp, datetime) else None,
            headers=incoming.headers,
        )

    async def ack(self) -> None:
        """Tell the broker that it may forget the message."""
        try:
            await self._incoming.ack()
        except _OUTAGES as error:
            raise BrokerUnavailable(f"the ack was lost: {error}") from error

    async def release(self) -> None:
        """Give the message back; nack, because a reject would count towards the limit."""
        try:
            await self._incoming.nack(requeue=True)
        except _OUTAGES as error:
            raise BrokerUnavailable(f"the nack was lost: {error}") from error


class RabbitSubscription:
    """A consumer of aio-pika; it comes back by itself after a reconnect."""

    def __init__(self, queue: AbstractQueue, tag: str) -> None:
        self._queue, self._tag = queue, tag

    async def cancel(self) -> None:
        """Ask for no more deliveries; a broker that is gone sends none anyway."""
        try:
            await self._queue.cancel(self._tag, timeout=3)
        except _OUTAGES:
            return


class RabbitBroker:
    """Two connections: a broker short of memory stops those that publish, and must not stop acks.

    Args:
        consuming: connection for deliveries and acks.
        publishing: connection for publishes.
        channel: of `publishing`, with confirms.
        publish_timeout: seconds; a blocked broker never answers.
    """

    def __init__(
        self,
        *,
        consuming: AbstractRobustConnection,
        publishing: AbstractRobustConnection,
        channel: AbstractRobustChannel,
        publish_timeout: float,
    ) -> None:
        self._consuming, self._publishing, self._channel = consuming, publishing, channel
        self._timeout = publish_timeout

    @property
    def connected(self) -> bool:
        """Whether both connections are open."""
        return self._consuming.connected.is_set() and self._publishing.connected.is_set()

    async def declare(self, topology: Topology) -> None:
        """Create what is missing.

        Raises:
            ConfigurationError: something of that name is there with other arguments.
        """
        # A channel of its own: the broker closes it when a declaration does not fit.
        async with self._consuming.channel() as channel:
            try:
                exchange = await channel.declare_exchange(topology.exchange, "topic", durable=True)
                for each in topology:
                    queue = await channel.declare_queue(
                        each.name, durable=True, arguments=dict(each.arguments)
                    )
                    for type_ in each.bindings:
                        await queue.bind(exchange, type_)
            except ChannelPreconditionFailed as error:
                raise ConfigurationError(
                    f"RabbitMQ has a queue or exchange with other arguments: {error}. "
                    "Delete it when it is empty, or give the new one another name"
                ) from error

    async def consume(
        self, queue: str, *, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> RabbitSubscription:
        """Consume on a channel of its own."""
        channel = await self._consuming.channel()
        await channel.set_qos(prefetch_count=prefetch)
        source = await channel.get_queue(queue, ensure=False)

        async def on_message(incoming: AbstractIncomingMessage) -> None:
            deliver(RabbitDelivery(incoming, queue))

        return RabbitSubscription(source, await source.consume(on_message, no_ack=False))

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Publish and wait for the confirm.

        Raises:
            PublishFailed: nobody is bound, or the broker refused.
            BrokerUnavailable: no answer; the message may have arrived all the same.
        """
        outgoing = aio_pika.Message(
            message.body,
            message_id=message.message_id,
            type=message.type,
            app_id=message.app_id,
            timestamp=message.timestamp,
            headers=dict(message.headers),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        try:
            target = (
                self._channel.default_exchange
                if exchange == DEFAULT_EXCHANGE
                else await self._channel.get_exchange(exchange, ensure=False)
            )
            await target.publish(outgoing, routing_key, mandatory=True, timeout=self._timeout)
        except PublishError as error:
            raise PublishFailed(
                f"nobody is bound to {routing_key!r} on exchange {exchange!r}: bind a queue"
            ) from error
        except DeliveryError as error:
            raise PublishFailed(f"the broker refused {routing_key!r}: {error}") from error
        except _OUTAGES as error:
            raise BrokerUnavailable(f"no confirm for {routing_key!r}: {error!r}") from error

    async def count(self, queue: str) -> int:
        """How many messages wait in a queue, not counting those being processed."""
        async with self._consuming.channel() as channel:
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0


@asynccontextmanager
async def connect(
    url: str, *, service: str, heartbeat: int, publish_timeout: float
) -> AsyncIterator[RabbitBroker]:
    """Connect, and close both connections at the end.

    Args:
        url: `amqp://user:password@host:port/vhost`.
        service: name of the connections, as RabbitMQ's management shows them.
        heartbeat: seconds; a silent network is noticed after three of them and a bit.
        publish_timeout: seconds.

    Raises:
        BrokerUnavailable: RabbitMQ does not answer or refuses us.
    """
    consuming = await _dial(url, f"{service} consume", heartbeat)
    try:
        publishing = await _dial(url, f"{service} publish", heartbeat)
        try:
            channel = await publishing.channel(publisher_confirms=True, on_return_raises=True)
            yield RabbitBroker(
                consuming=consuming,
                publishing=publishing,
                channel=channel,
                publish_timeout=publish_timeout,
            )
        finally:
            await publishing.close()
    finally:
        await consuming.close()


async def _dial(url: str, name: str, heartbeat: int) -> AbstractRobustConnection:
    properties: Mapping[str, Any] = {
        "connection_name": f"{name} {socket.gethostname()} {os.getpid()}"
    }
    address = URL(url).update_query(
        heartbeat=str(heartbeat),
        reconnect_interval=f"{random.uniform(1, 5):.2f}",  # noqa: S311  not all at once
    )
    try:
        return await aio_pika.connect_robust(
            str(address), timeout=10, client_properties=dict(properties)
        )
    except (AMQPError, OSError, TimeoutError) as error:
        where = f"{address.host}:{address.port or 5672}"
        raise BrokerUnavailable(
            f"cannot reach RabbitMQ at {where} (BROKER_URL): {error or type(error).__name__}; "
            "start it or correct the address"
        ) from error
