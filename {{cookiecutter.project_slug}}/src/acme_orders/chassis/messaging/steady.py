"""A step that is repeated until the process stops, whatever it raises."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import apart

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds; work goes on soon after the cause is gone


class Steady:
    """Repeats a step. An error of it is no reason to end, and no reason to write a log for ever.

    Args:
        name: of the part, in the log and in metrics.
        step: does something, and returns after how many seconds it is to be done again.
        metrics: where it says that it pauses.
    """

    def __init__(
        self, name: str, step: Callable[[], Coroutine[Any, Any, float]], *, metrics: Metrics
    ) -> None:
        self._name, self._step = name, step
        self._paused = metrics.relay_paused.labels(name)
        self._failures, self._since, self._why = 0, 0.0, ""

    @property
    def waits(self) -> str:
        """How long it has paused, and why; empty if it does not."""
        if not self._failures:
            return ""
        return f"{self._name} for {time.monotonic() - self._since:.0f} s: {self._why}"

    async def run(self, stop: asyncio.Event, *wakers: asyncio.Event) -> None:
        """Repeat the step until `stop` is set; after an error it waits, longer each time.

        Args:
            stop: of the process.
            wakers: events that shorten the rest after a step; it has to clear them itself.
        """
        while not stop.is_set():
            try:
                seconds = await apart(self._step)
            except Exception as error:
                self._pause(error)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 10))
                await rest(pause, stop)
            else:
                self._resume()
                if seconds > 0:
                    await rest(seconds, stop, *wakers)

    def _pause(self, error: BaseException) -> None:
        self._failures += 1
        known = isinstance(error, ServiceError)  # others may say too much to be shown
        self._why = f"{type(error).__name__}: {error}" if known else type(error).__name__
        if self._failures == 1:
            self._since = time.monotonic()
            self._paused.set(1)
        if self._failures & (self._failures - 1) == 0:  # 1, 2, 4, 8 …: a long outage is no flood
            log.warning(
                "relay.paused",
                part=self._name,
                failures=self._failures,
                error=type(error).__name__,
                why=str(error),
                exc_info=None if known else error,
            )

    def _resume(self) -> None:
        if self._failures:
            seconds = round(time.monotonic() - self._since, 2)
            log.info("relay.resumed", part=self._name, failures=self._failures, seconds=seconds)
            self._failures = 0
            self._paused.set(0)


async def rest(seconds: float, *events: asyncio.Event) -> None:
    """Until one of these is set, or the time is over: a random part of it.

    Processes that are started together would otherwise ask together for ever.
    """
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(
            waits,
            timeout=random.uniform(seconds / 2, seconds),  # noqa: S311
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        for wait in waits:
            wait.cancel()
