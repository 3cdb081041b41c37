"""SIGTERM and SIGINT: drain, then end within a known time, whatever hangs."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

import structlog

from acme_orders.observability.metrics import Metrics

Resource = TypeVar("Resource")
log = structlog.get_logger()

CLOSING = 4.0  # seconds for all that comes after DRAIN_TIMEOUT; 25 + 4 fit into 30
_CLOSE = 2.0  # seconds for a connection; a server that hangs does not say goodbye


class Shutdown:
    """Ends the process on a signal: before `drain` was called at once, afterwards in order.

    A second signal ends it at once with status 1. Nothing is lost by that: PostgreSQL rolls back
    what is open, and RabbitMQ delivers again what was not acked.

    Args:
        seconds: that the work under way may take; then it is cancelled.
        metrics: where the time since the signal is shown.
    """

    def __init__(self, seconds: float, metrics: Metrics) -> None:
        self.stop = asyncio.Event()
        self._seconds, self._running = seconds, list[asyncio.Task[None]]()
        self._began: float | None = None
        metrics.drain_duration.set_function(lambda: self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds since the signal; 0 before."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def watch(self) -> None:
        """Handle signals from now on; as process 1 of a container nobody else would."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def drain(self, running: Sequence[asyncio.Task[None]]) -> None:
        """From now on a signal sets `stop`, and cancels these tasks when the time is over."""
        self._running.extend(running)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._running:
            log.info("service.stopped", signal=number.name, why="it was still starting")
            os._exit(128 + number)
        if self.stop.is_set():
            log.warning("service.aborted", signal=number.name, why="a second signal")
            os._exit(1)
        log.info("service.draining", signal=number.name, seconds=self._seconds)
        self._began = time.monotonic()
        self.stop.set()
        asyncio.get_running_loop().call_later(self._seconds, self._cancel)
        # Neither a task that swallows its cancellation nor a thread that waits may keep us.
        last_resort = threading.Timer(self._seconds + CLOSING, self._abort)
        last_resort.daemon = True
        last_resort.start()

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()

    def _abort(self) -> None:
        log.error("service.aborted", seconds=self.elapsed, why="something could not be ended")
        os._exit(1)


@asynccontextmanager
async def closed_quickly(
    resource: AbstractAsyncContextManager[Resource],
) -> AsyncIterator[Resource]:
    """The same resource, but nobody waits long for its end; the process ends soon anyway."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(resource)
        closing = stack.pop_all()
    try:
        yield opened
    finally:
        try:
            async with asyncio.timeout(_CLOSE):
                await closing.aclose()
        except TimeoutError:
            log.warning("service.not_closed", what=type(opened).__name__, seconds=_CLOSE)
