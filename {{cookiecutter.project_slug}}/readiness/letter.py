"""A delivery that remembers what became of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from acme_orders.chassis.messaging.broker import Message


@dataclass(eq=False)
class Letter:
    """Is handed to the consumer instead of a delivery of the broker."""

    message: Message
    queue: str
    on_ack: Callable[[], Awaitable[None]] | None = None
    returns: int = 0
    acked: int = 0

    @property
    def open(self) -> bool:
        """Whether it is not acknowledged yet."""
        return not self.acked

    async def ack(self) -> None:
        """Count it, after telling whoever wants to look around first."""
        if self.on_ack:
            await self.on_ack()
        self.acked += 1

    async def release(self) -> None:
        """Nothing: whoever looks finds it not acknowledged."""
