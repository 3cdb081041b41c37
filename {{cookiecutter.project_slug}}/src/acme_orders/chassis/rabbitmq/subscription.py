"""Consuming from one queue of RabbitMQ, on a channel that is opened anew whenever it is lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage

from acme_orders.chassis.errors import BrokerUnavailable, ConfigurationError
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.rabbitmq.answers import (
    ANSWER,
    answered,
    goodbye,
    within,
)
from acme_orders.chassis.rabbitmq.ledger import Ledger
from acme_orders.chassis.rabbitmq.link import Link
from acme_orders.chassis.rabbitmq.properties import received_id
from acme_orders.chassis.supervision import Supervisor

_CANCEL = 3.0  # seconds; a broker that is gone sends nothing anyway
_CLOSE = 0.5  # seconds; a broker that has not answered until then closes it all the same
_LONGEST_PAUSE = 5.0  # seconds between two attempts to consume

log = structlog.get_logger()


class RabbitDelivery:
    """A delivery on one channel. It is bound to this channel; its successor knows nothing of it."""

    def __init__(self, delivered: DeliveredMessage, queue: str, ledger: Ledger) -> None:
        self.ledger, self.tag, self.queue = ledger, delivered.delivery_tag or 0, queue
        # First of all: what is not entered, an ack of its successors would settle.
        ledger.enter(self.tag)
        properties = delivered.header.properties
        headers: dict[str, Any] = dict(properties.headers or {})
        sent = properties.timestamp
        self.message = Message(
            body=bytes(delivered.body),
            message_id=received_id(properties, headers),
            type=properties.message_type,
            app_id=properties.app_id,
            timestamp=sent if isinstance(sent, datetime) else None,
            headers=headers,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            priority=properties.priority,
            expiration=properties.expiration,
            user_id=properties.user_id,
        )
        # A client can send this header too; only with the flag was it written by the broker.
        count = headers.get("x-delivery-count", 1) if delivered.redelivered else 0
        self.returns = count if isinstance(count, int) else 1

    @property
    def open(self) -> bool:
        """Whether it can be settled."""
        return self.ledger.is_open(self.tag)

    async def ack(self) -> None:
        """Tell the broker that it may forget the message."""
        with answered("the ack was lost"):
            await self.ledger.ack([self.tag])

    async def release(self) -> None:
        """Give the message back."""
        with answered("the nack was lost"):
            await self.ledger.release(self.tag)


async def ack_together(deliveries: Sequence[Delivery]) -> set[Delivery]:
    """Acknowledge deliveries, those of one channel together; returns those whose ack was lost."""
    of_channel: dict[Ledger, list[RabbitDelivery]] = {}
    for each in deliveries:
        assert isinstance(each, RabbitDelivery)
        of_channel.setdefault(each.ledger, []).append(each)
    lost: set[Delivery] = set()
    for ledger, some in of_channel.items():
        try:
            with answered("the ack was lost"):
                await ledger.ack([each.tag for each in some])
        except BrokerUnavailable:
            lost.update(some)
    return lost


class RabbitSubscription:
    """A consumer, and the task that keeps it.

    It begins anew when the connection or channel was lost, and when RabbitMQ cancelled it because
    the queue was deleted.

    Args:
        link: to consume on.
        queue: name.
        prefetch: most deliveries not settled.
        deliver: called for each; it must not wait, because the channel reads nothing meanwhile.
        declare: creates the queue if somebody has deleted it.
        supervisor: of the task.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        declare: Callable[[], Awaitable[None]],
        supervisor: Supervisor,
    ) -> None:
        self._link, self.queue, self._prefetch = link, queue, prefetch
        self._deliver, self._declare, self._supervisor = deliver, declare, supervisor
        self._lost = asyncio.Event()
        self._channel: RawChannel | None = None
        self._tag: str | None = None
        self._cancelled = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Whether deliveries arrive, as far as is known; also after `cancel`, which ends that."""
        return self._cancelled or not self._lost.is_set()

    @property
    def ended(self) -> bool:
        """Whether it will never deliver again."""
        return self._cancelled

    async def start(self) -> None:
        """Begin to consume; in an outage the keeper does, when it is over.

        Other queues are consumed from already: what one of their messages does to the event loop
        or to the connection must not end the process.

        Raises:
            BrokerUnavailable: there is no such queue.
        """
        try:
            await self._subscribe()
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                raise
            log.warning("subscription.refused", queue=self.queue, why=str(error))
            self._lost.set()
        part = f"subscription {self.queue}"
        self._keeper = asyncio.create_task(self._supervisor.keep(part, self._keep), name=part)

    async def cancel(self) -> None:
        """Ask for no more deliveries. The channel stays, for those that are not settled."""
        await self.end()
        if self._channel is not None and self._tag is not None:
            await goodbye(_CANCEL, self._channel.basic_cancel(self._tag))

    async def restart(self) -> None:
        """Close the channel, which gives back what is not settled; the keeper opens another."""
        lost = self._lost  # the keeper is woken by the close already, and puts another in its place
        if self._channel is not None:
            await goodbye(_CANCEL, self._channel.close())
        lost.set()

    async def close(self) -> None:
        """Give back what is not settled, and consume no more."""
        try:
            await self.end()
        finally:
            if self._channel is not None:
                await _leave(self._channel)

    async def end(self) -> None:
        """Begin no more; for a connection that is closed soon, and its channels with it."""
        self._cancelled = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            await self._begin_anew()

    async def _begin_anew(self) -> None:
        pause, failures = 0.1, 0
        while True:
            await self._link.restored()
            try:
                await self._subscribe()
            except BrokerUnavailable as error:
                failures += 1
                if failures & (failures - 1) == 0:  # 1, 2, 4, 8 …: a long outage is no flood
                    log.warning("subscription.refused", queue=self.queue, why=str(error))
                if isinstance(error.__cause__, ChannelNotFoundEntity):
                    with suppress(BrokerUnavailable, ConfigurationError):
                        await self._declare()
            else:
                log.info("subscription.restored", queue=self.queue)
                return
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _subscribe(self) -> None:
        opened = await self._link.channel()
        channel = await opened.get_underlay_channel()
        ledger, lost = Ledger(channel), asyncio.Event()

        async def on_message(delivered: DeliveredMessage) -> None:
            self._deliver(RabbitDelivery(delivered, self.queue, ledger))

        channel.on_consumer_cancel_callbacks.add(lambda _: lost.set())
        channel.closing.add_done_callback(lambda _: lost.set())
        try:
            with answered(f"cannot consume from {self.queue}"):
                await within(ANSWER, channel.basic_qos(prefetch_count=self._prefetch))
                begun = await within(ANSWER, channel.basic_consume(self.queue, on_message))
        except BaseException:
            await _leave(channel)  # it may be consuming, and nobody would know of it
            raise
        if self._channel is not None and not self._channel.is_closed:
            # The queue was deleted, and with it what this channel had not settled.
            await _leave(self._channel)
        # The channel of aio-pika closes the one below when it is forgotten.
        self._opened, self._channel, self._tag, self._lost = (
            opened,
            channel,
            begun.consumer_tag,
            lost,
        )


async def _leave(channel: RawChannel) -> None:
    await goodbye(_CLOSE, channel.close())
