"""Publishes on one channel of a connection, and waits for what RabbitMQ says to each message."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from acme_orders.chassis.errors import (
    ChannelDenied,
    PublishFailed,
    Unconfirmed,
    Unroutable,
)
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.rabbitmq.answers import ANSWER, answered, goodbye
from acme_orders.chassis.rabbitmq.properties import encoded

_DENIALS = (ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity)
_UNDRAINED = 64 * 1024  # bytes handed over before one publish waits until they have left


class Publisher:
    """A channel with confirms, opened anew when it was lost.

    Args:
        open_channel: opens a channel with confirms; raises BrokerUnavailable.
        patience: seconds; a blocked broker never answers.
    """

    def __init__(
        self, open_channel: Callable[[], Awaitable[AbstractChannel]], *, patience: float
    ) -> None:
        self._open_channel, self._patience = open_channel, patience
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._stale = False
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._undrained = 0

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Publish and wait for the confirm.

        Raises:
            Unpublishable: AMQP has no form for the message; nothing was sent.
            Unroutable: no queue is bound.
            PublishFailed: a queue refused the message.
            Unconfirmed: no answer in time; the message may have arrived all the same.
            ChannelDenied: RabbitMQ closed the channel; another message on it may be the reason.
            BrokerUnavailable: the connection or the channel was lost.
        """
        with answered(f"no confirm for {routing_key!r}"):
            try:
                async with (
                    asyncio.timeout(self._patience) as limit,
                    self._alone(message.message_id),
                ):
                    await self._send(message, exchange, routing_key)
            except PublishError as error:
                raise Unroutable(
                    f"no queue is bound to {routing_key!r} on exchange {exchange!r}: bind a queue"
                ) from error
            except DeliveryError as error:
                self._stale = True
                raise PublishFailed(f"the broker refused {routing_key!r}: {error}") from error
            except _DENIALS as error:
                raise ChannelDenied(f"the broker denies {routing_key!r}: {error}") from error
            except TimeoutError as error:
                if not limit.expired():
                    raise
                self._stale = True
                raise Unconfirmed(
                    f"no confirm for {routing_key!r} within {self._patience:g} s (PUBLISH_TIMEOUT)"
                ) from error

    async def _send(self, message: Message, exchange: str, routing_key: str) -> None:
        channel = await (await self._opened()).get_underlay_channel()
        properties = encoded(
            message,
            routing_key=routing_key,
            frame_max=channel.connection.connection_tune.frame_max or 0,
        )
        # To wait each time costs a fifth of the rate. Not to wait at all fills the memory of a
        # process whose RabbitMQ is blocked.
        drain = self._undrained > _UNDRAINED
        self._undrained += len(message.body)
        await channel.basic_publish(
            message.body,
            exchange=exchange,
            routing_key=routing_key,
            properties=properties,
            mandatory=True,
            wait=drain,  # type: ignore[call-arg]  # its declaration lacks it
        )
        if drain:
            self._undrained = 0

    @asynccontextmanager
    async def _alone(self, message_id: str | None) -> AsyncIterator[None]:
        """Publish one message of an id at a time.

        aiormq tells returned messages apart by their id: of two under way it would take the one
        that was returned for the other, and lose it.
        """
        if message_id is None:
            yield
            return
        while (other := self._under_way.get(message_id)) is not None:
            await asyncio.wait([other])
        mine = self._under_way[message_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._under_way[message_id]
            mine.set_result(None)

    async def _opened(self) -> AbstractChannel:
        async with self._opening:
            if self._stale and self._channel is not None and len(self._under_way) <= 1:
                # RabbitMQ 3.10 goes on refusing on this channel, even when the limit is lifted.
                # It can be closed because nobody else waits for a confirm on it.
                await goodbye(ANSWER, self._channel.close())
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._open_channel()
                self._stale, self._undrained = False, 0
            return self._channel
