"""SIGTERM and SIGINT: drain, then end within a known time, whatever hangs."""

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import structlog

from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics

Resource = TypeVar("Resource")
log = structlog.get_logger()

CLOSING = 4.0  # seconds for all that comes after DRAIN_TIMEOUT; 25 + 4 fit into 30
_CLOSE = 2.0  # seconds for a connection; a server that hangs does not say goodbye
_TELL = 0.5  # seconds for the last lines of the log; who reads it has had the time before
_AGAIN = 1.0  # seconds until what has swallowed its cancellation is cancelled again


class Shutdown:
    """Ends the process on a signal: before `drain` was called at once, afterwards in order.

    A second signal ends it at once with status 1. Nothing is lost by that: PostgreSQL rolls back
    what is open, and RabbitMQ delivers again what was not acked. When the block is left, or the
    work has ended for whatever reason, the process has CLOSING seconds.

    Args:
        seconds: that the work under way may take; then it is cancelled.
        metrics: where the time since the signal is shown.
    """

    def __init__(self, seconds: float, metrics: Metrics) -> None:
        self.stop = asyncio.Event()
        self._seconds, self._running = seconds, list[asyncio.Task[None]]()
        self._began: float | None = None
        self._last = math.inf  # when whatever is left to do is given up
        metrics.drain_duration.set_function(lambda: self.elapsed)

    def __enter__(self) -> Self:
        # As process 1 of a container nobody else would handle them.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def elapsed(self) -> float:
        """Seconds since the signal; 0 before."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the process is ended, whatever is left to do; infinite before it stops."""
        return self._last - time.monotonic()

    def drain(self, running: Sequence[asyncio.Task[None]]) -> None:
        """From now on a signal sets `stop`, and cancels these tasks when the time is over."""
        self._running.extend(running)

    def close(self) -> None:
        """The work has ended, or is being cancelled; what is left has CLOSING seconds."""
        if self._began is None:
            self._began = time.monotonic()
            asyncio.get_running_loop().call_later(_AGAIN, self._cancel)
            self._end_within(CLOSING)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._running:
            log.info("service.stopped", signal=number.name, why="it was still starting")
            _end(128 + number)
        if self.stop.is_set():
            log.warning("service.aborted", signal=number.name, why="a second signal")
            _end(1)
        log.info("service.draining", signal=number.name, seconds=self._seconds)
        self.stop.set()
        if self._began is None:
            self._began = time.monotonic()
            asyncio.get_running_loop().call_later(self._seconds, self._cancel)
            self._end_within(self._seconds + CLOSING)

    def _cancel(self) -> None:
        """Again and again: a task may swallow its cancellation, as asyncio.wait_for does."""
        for task in self._running:
            task.cancel()
        if not all(task.done() for task in self._running):
            asyncio.get_running_loop().call_later(_AGAIN, self._cancel)

    def _end_within(self, seconds: float) -> None:
        # Neither a task that swallows every cancellation nor a thread that waits may keep us.
        self._last = time.monotonic() + seconds - _TELL
        last_resort = threading.Timer(self.left, self._abort)
        last_resort.daemon = True
        last_resort.start()

    def _abort(self) -> None:
        log.error("service.aborted", seconds=self.elapsed, why="something could not be ended")
        _end(1)


def _end(status: int) -> NoReturn:
    logs.end(_TELL)
    os._exit(status)


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
        # In a task of its own: what swallows a cancellation is not waited for.
        task = asyncio.create_task(closing.aclose())
        try:
            await asyncio.wait([task], timeout=_CLOSE)
        finally:
            if task.done():
                task.result()
            else:
                task.cancel()
                log.warning("service.not_closed", what=type(opened).__name__, seconds=_CLOSE)
