"""A bounded pool that hands out connections which answer.

The pools of the drivers hand out connections that have died meanwhile, and a slow connect may hold
up whoever waits for one that is given back (docs/adr/0005).
"""

import asyncio
import random
import select
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from acme_orders.chassis.database import driver
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import cancelled, failure

_PING_AFTER = 30.0  # seconds; firewalls forget idle connections without telling anybody
_TRY_AGAIN = 0.2  # seconds after a failed attempt to connect, for those who still wait
_PING_TIMEOUT = 2.0  # seconds; a live server answers in a millisecond


@dataclass(slots=True, eq=False)
class Pooled:
    """A connection of the pool; `expires` and `used` are points of the monotonic clock."""

    connection: Any
    expires: float
    used: float = field(default_factory=time.monotonic)

    @property
    def suspect(self) -> bool:
        """Whether it may have died: an idle server has nothing to say but goodbye."""
        poll = select.poll()
        poll.register(driver.fileno(self.connection), select.POLLIN)
        return bool(poll.poll(0)) or time.monotonic() - self.used > _PING_AFTER


class Pool:
    """At most `size` connections; whoever waits longest is served first.

    Args:
        connect: opens a connection.
        size: most connections.
        max_age: seconds after which a connection is replaced, give or take a tenth: a load balancer
            or a new primary gets its share, and memory of long sessions is given back.
        metrics: where connections are counted.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        size: int,
        max_age: float,
        metrics: Metrics,
    ) -> None:
        self.size, self.last_failure = size, ""
        self._connect, self._max_age, self._metrics = connect, max_age, metrics
        self._idle: list[Pooled] = []
        self._used: set[Pooled] = set()
        self._waiting: deque[asyncio.Future[Pooled]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        metrics.db_connections_max.set(size)
        metrics.db_connections.labels("used").set_function(lambda: len(self._used))
        metrics.db_connections.labels("idle").set_function(lambda: len(self._idle))
        metrics.db_connections_pending.set_function(lambda: len(self._waiting))

    @property
    def full(self) -> bool:
        """Whether all connections are in use: who waits may wait for one of those."""
        return len(self._used) == self.size

    async def acquire(self) -> Pooled:
        """A connection that answers, whatever happened to it while it was idle.

        Raises:
            Exception: what `connect` raises, if there is no other connection to wait for.
        """
        while True:
            pooled = await self._take()
            try:
                if await self._answers(pooled):
                    return pooled
            except BaseException:
                self._drop(pooled, "cancelled")
                raise
            self._drop(pooled, "dead")

    def release(self, pooled: Pooled) -> None:
        """Take a connection back. It never waits, so nothing can interrupt it.

        One that is closed, or still inside a transaction, is not handed out again.
        """
        pooled.used = time.monotonic()
        if pooled.connection.closed:
            self._drop(pooled, "broken")
        elif not driver.is_idle(pooled.connection):
            self._drop(pooled, "in_transaction")
        elif self._closed or pooled.used > pooled.expires:
            self._drop(pooled, "expired")
        else:
            self._used.discard(pooled)
            self._hand_over(pooled)

    async def close(self) -> None:
        """Close idle connections now, and the others when they are released."""
        self._closed = True
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._idle:
            self._drop(self._idle.pop(), "expired")

    async def _take(self) -> Pooled:
        if self._idle:
            pooled = self._idle.pop()  # the one used last: the others may age and be replaced
            self._used.add(pooled)
            return pooled
        waiter: asyncio.Future[Pooled] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._grow()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)

    def _grow(self) -> None:
        """Open connections for those who wait, without making them wait for just these."""
        # One that has failed stays in the set until the next turn of the loop, and opens nothing.
        under_way = sum(not opening.done() for opening in self._opening)
        while (
            under_way < len(self._waiting)
            and under_way + len(self._idle) + len(self._used) < self.size
            and not self._closed
        ):
            opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
            under_way += 1

    async def _open(self) -> None:
        began = time.monotonic()
        try:
            connection = await self._connect()
        except BaseException as raised:  # asyncio would stop the loop because of a SystemExit
            if cancelled():
                raise
            error = failure(raised)
            self.last_failure = " ".join(str(error).split()) or type(error).__name__
            if self._used or self._idle:  # one of those may become free, or the server have room
                asyncio.get_running_loop().call_later(_TRY_AGAIN, self._grow)
                return
            while self._waiting:
                if not (waiter := self._waiting.popleft()).done():
                    waiter.set_exception(error)
        else:
            self._metrics.db_connection_create.observe(time.monotonic() - began)
            age = self._max_age * random.uniform(0.9, 1.1)  # noqa: S311
            self._hand_over(Pooled(connection, expires=began + age))

    def _hand_over(self, pooled: Pooled) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._used.add(pooled)
                waiter.set_result(pooled)
                return
        self._idle.append(pooled)

    def _drop(self, pooled: Pooled, reason: str) -> None:
        self._used.discard(pooled)
        driver.discard(pooled.connection)
        self._metrics.db_connections_closed.labels(reason).inc()
        self._grow()

    async def _answers(self, pooled: Pooled) -> bool:
        if pooled.connection.closed:
            return False
        if not pooled.suspect:
            return True
        try:
            async with asyncio.timeout(_PING_TIMEOUT), pooled.connection.cursor() as cursor:
                await cursor.execute("SELECT 1")
        except (driver.DriverError, OSError, TimeoutError):
            return False
        return True
