"""What one channel has delivered and what became of it: nothing is settled twice.

RabbitMQ closes a channel on which a delivery is settled a second time. All other deliveries of it
come back then, one delivery closer to their limit.
"""

from collections.abc import Sequence

import structlog
from aiormq.abc import AbstractChannel

from acme_orders.chassis.errors import BrokerUnavailable

log = structlog.get_logger()


class Ledger:
    """The deliveries of one channel."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._open: set[int] = set()
        self._untold: set[int] = set()  # of these, RabbitMQ does not know what became of them

    def enter(self, tag: int) -> None:
        """Remember a delivery."""
        self._open.add(tag)
        self._untold.add(tag)

    def is_open(self, tag: int) -> bool:
        """Whether a delivery can be settled."""
        return tag in self._open and not self._channel.is_closed

    async def ack(self, tags: Sequence[int]) -> None:
        """Settle deliveries for good, unless that was done before.

        RabbitMQ is told of as many as possible at once: of all up to the first one, in the order
        of delivery, that somebody else has in hand.

        Raises:
            BrokerUnavailable: the channel is gone; the broker delivers the messages again.
        """
        mine = sorted(tag for tag in tags if self._close(tag))
        if not mine:
            return
        self._require_channel()
        others = min(self._untold.difference(mine), default=None)
        together = [tag for tag in mine if others is None or tag < others]
        if together:
            await self._channel.basic_ack(together[-1], multiple=True)
            self._untold.difference_update(together)
        for tag in mine[len(together) :]:
            await self._channel.basic_ack(tag)
            self._untold.discard(tag)

    async def release(self, tag: int) -> None:
        """Have a delivery delivered again, unless it is settled.

        With nack, because a reject counts towards the delivery limit in every RabbitMQ.

        Raises:
            BrokerUnavailable: the channel is gone, which has the same effect.
        """
        if self._close(tag):
            self._require_channel()
            await self._channel.basic_nack(tag, requeue=True)
            self._untold.discard(tag)

    def _close(self, tag: int) -> bool:
        if tag not in self._open:
            log.error("delivery.settled_twice", tag=tag)
            return False
        self._open.discard(tag)
        return True

    def _require_channel(self) -> None:
        if self._channel.is_closed:
            raise BrokerUnavailable("the channel of this delivery is closed")
