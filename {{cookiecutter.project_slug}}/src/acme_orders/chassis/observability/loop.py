"""Notices when something blocks the event loop, and says what."""

import asyncio
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import Supervisor

log = structlog.get_logger()


@asynccontextmanager
async def watch_loop(
    metrics: Metrics, supervisor: Supervisor, *, limit: float
) -> AsyncIterator[None]:
    """Measure how late the loop is, and log the stack of what blocks it.

    Args:
        metrics: where lag and blockages are counted.
        supervisor: of the task that is measured.
        limit: seconds without a turn of the loop; once per blockage, while it lasts.
    """
    watch = _Watch(metrics, limit)
    beating = asyncio.create_task(supervisor.keep("loop watch", watch.beat))
    thread = threading.Thread(target=watch.look, name="loop-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.ended.set()
        thread.join()
        beating.cancel()
        await asyncio.wait([beating])  # the end of the loop would cancel its parts one by one


class _Watch:
    """A pulse in the loop, and the eyes of a thread that count for how long it is missing."""

    def __init__(self, metrics: Metrics, limit: float) -> None:
        self.ended = threading.Event()
        self._metrics, self._limit = metrics, limit
        self._loop_thread = threading.get_ident()
        self._beats = 0

    async def beat(self) -> None:
        loop, every = asyncio.get_running_loop(), self._limit / 20
        while True:
            due = loop.time() + every
            await asyncio.sleep(every)
            self._metrics.event_loop_lag.observe(max(0.0, loop.time() - due))
            self._beats += 1

    def look(self) -> None:
        # Looks are counted, not seconds: a process that was frozen as a whole blocked nothing.
        seen, missed, every = -1, 0, self._limit / 10
        while not self.ended.wait(every):
            missed = missed + 1 if self._beats == seen else 0
            seen = self._beats
            if missed == round(self._limit / every):
                self._report()

    def _report(self) -> None:
        self._metrics.event_loop_blocked.inc()
        if frame := sys._current_frames().get(self._loop_thread):  # noqa: SLF001  the only way
            stack = "".join(traceback.format_stack(frame))
            log.error("event_loop.blocked", seconds=self._limit, stack=stack)
