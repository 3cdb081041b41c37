"""What one channel has delivered and what became of it: nothing is settled twice.

RabbitMQ closes a channel on which a delivery is settled a second time. All other deliveries of it
come back then, one delivery closer to their limit.
"""

import structlog
from aiormq.abc import AbstractChannel

from acme_orders.errors import BrokerUnavailable

log = structlog.get_logger()


class Ledger:
    """The deliveries of one channel."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._open: set[int] = set()

    def enter(self, tag: int) -> None:
        """Remember a delivery."""
        self._open.add(tag)

    def is_open(self, tag: int) -> bool:
        """Whether a delivery can be settled."""
        return tag in self._open and not self._channel.is_closed

    async def ack(self, tag: int) -> None:
        """Settle a delivery for good, unless that was done before.

        Raises:
            BrokerUnavailable: the channel is gone; the broker delivers the message again.
        """
        if self._close(tag):
            await self._channel.basic_ack(tag)

    async def release(self, tag: int) -> None:
        """Have a delivery delivered again, unless it is settled.

        With nack, because a reject counts towards the delivery limit in every RabbitMQ.

        Raises:
            BrokerUnavailable: the channel is gone, which has the same effect.
        """
        if self._close(tag):
            await self._channel.basic_nack(tag, requeue=True)

    def _close(self, tag: int) -> bool:
        if tag not in self._open:
            log.error("delivery.settled_twice", tag=tag)
            return False
        self._open.discard(tag)
        if self._channel.is_closed:
            raise BrokerUnavailable("the channel of this delivery is closed")
        return True
