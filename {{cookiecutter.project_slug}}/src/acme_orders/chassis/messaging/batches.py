"""Natural batches: what has been delivered is processed together."""

import asyncio
from collections import deque
from contextlib import suppress

from acme_orders.chassis.messaging.broker import Delivery


class Batches:
    """Deliveries that wait for a worker.

    If nobody is at work, a delivery waits for nothing. Else it waits for company, and the longer
    the more batches are under way: under load a few large ones cost less than many small ones, and
    with slow handlers all workers still get something to do.

    Args:
        size: most deliveries in one.
        linger: seconds to wait, for each batch that is under way.
    """

    def __init__(self, *, size: int, linger: float) -> None:
        self._size, self._linger = size, linger
        self._waiting: deque[Delivery] = deque()
        self._turn, self._some, self._go = asyncio.Lock(), asyncio.Event(), asyncio.Event()
        self._under_way = 0

    def put(self, delivery: Delivery) -> None:
        """Let a delivery wait."""
        self._waiting.append(delivery)
        self._some.set()
        if len(self._waiting) >= self._size:
            self._go.set()

    async def take(self) -> list[Delivery]:
        """The next batch; tell `done` when it has been processed."""
        async with self._turn:
            await self._some.wait()
            if self._under_way and len(self._waiting) < self._size:
                self._go.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._linger * self._under_way):
                        await self._go.wait()
            number = min(self._size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(number)]
            if not self._waiting:
                self._some.clear()
            self._under_way += 1
            return batch

    def done(self) -> None:
        """A batch is processed; those who wait need no company if it was the last one."""
        self._under_way -= 1
        if not self._under_way:
            self._go.set()
