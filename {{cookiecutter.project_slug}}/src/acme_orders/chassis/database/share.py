"""A share of the pool, for work that outsiders cause: it never holds all connections."""

import asyncio
from collections.abc import Callable
from typing import Any

from acme_orders.chassis.errors import PoolExhausted


class Share:
    """So many connections at once for all who work in its name, whatever tasks they start.

    Args:
        size: connections.
        wait: seconds for one of them.
        setting: that says how many there are.
    """

    def __init__(self, size: int, *, wait: float, setting: str) -> None:
        self._free, self._wait = asyncio.Semaphore(size), wait
        self._about = f"{setting}={size}"

    async def take(self) -> None:
        """Take a connection's place; raises PoolExhausted if none becomes free in time."""
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise PoolExhausted(
                f"no connection within {self._wait:g} s: others have all of {self._about}"
            ) from error

    def give_back(self) -> None:
        """Let somebody else have the place."""
        self._free.release()


class Kept:
    """The one connection of a piece of work: taken at the first use, kept until `give_back`.

    Args:
        share: that it is a part of.
    """

    def __init__(self, share: Share) -> None:
        self.share, self._task = share, asyncio.current_task()
        self._lease: Any = None
        self._release: Callable[[], None] | None = None
        self._over = False

    def keep(self, lease: Any, release: Callable[[], None]) -> bool:
        """Keep this lease; not a second one, and none of a child task."""
        if self._over or self._lease is not None or asyncio.current_task() is not self._task:
            return False
        self._lease, self._release = lease, release
        return True

    def give_back(self, *, anyway: bool = False) -> None:
        """Give the connection back; not out of an open transaction, unless `anyway`."""
        if self._lease is not None and self._lease.transaction is not None and not anyway:
            return
        self._over = True
        if self._release is not None:
            release, self._release = self._release, None
            release()
