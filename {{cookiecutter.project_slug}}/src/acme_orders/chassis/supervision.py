"""Parts that run as long as the process does: none of them ends without being seen."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from acme_orders.chassis.errors import Interrupted, PartsMissing, ServiceError
from acme_orders.chassis.observability.metrics import Metrics

Result = TypeVar("Result")
log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds until a part is started again
_STEADY = 60.0  # seconds after which a part that ends has worked


async def apart(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run `work` in a task of its own, so that nothing but our own cancellation ends this task.

    CancelledError may come out of any code, though nobody has cancelled this task: a library lost
    its connection, a child task was cancelled, or the code cancels the task that it runs in. It
    would look like the end of the process, and stop what runs here without a word.

    Raises:
        Interrupted: `work` ended with a CancelledError, a SystemExit or the like of its own.
        ServiceError: it was that of such an end, as of one in the middle of a COMMIT.
        CancelledError: this task was cancelled; `work` was as well, and has ended.
    """
    results: list[Result] = []
    task, cancelled = asyncio.create_task(_bounded(work, results)), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:  # ours
            cancelled = error
            task.cancel()
    if cancelled is None:
        if not task.cancelled():
            task.result()  # raises what `work` has raised
        elif not results:
            raise Interrupted("it was cancelled before it began, which nobody here asked for")
        return results[0]  # also of a task that was cancelled when all was done
    if not task.cancelled():
        task.exception()  # or asyncio logs that nobody asked for it
    raise cancelled


def cancelled() -> bool:
    """Whether somebody has cancelled this task: a CancelledError alone does not say so."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


def failure(error: BaseException) -> Exception:
    """The error itself, or what stands for one that would end a task or the process."""
    if isinstance(error, Exception):
        return error
    told = Interrupted(f"it ended with {type(error).__name__}, which nobody here asked for")
    return told.with_traceback(error.__traceback__)


async def _bounded(work: Callable[[], Coroutine[Any, Any, Result]], results: list[Result]) -> None:
    try:
        results.append(await work())
    except Exception:
        raise
    except BaseException as error:  # asyncio would stop the loop because of a SystemExit
        if isinstance(error.__cause__, ServiceError):
            raise error.__cause__.with_traceback(error.__traceback__) from None
        raise failure(error) from error


class Supervisor:
    """Starts parts again that have ended, and knows which of them are not running.

    Args:
        metrics: where restarts are counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._missing: Counter[str] = Counter()

    async def keep(
        self,
        part: str,
        run: Callable[[], Coroutine[Any, Any, None]],
        stop: asyncio.Event | None = None,
    ) -> None:
        """Run a part again and again, until this task is cancelled.

        Args:
            part: name in logs and metrics.
            run: returns or raises when the part ends, for whatever reason.
            stop: when it is set, the part may end, and is not started again.
        """
        pause = _FIRST_PAUSE
        restarts = self._metrics.part_restarts.labels(part)
        while True:
            began, error = time.monotonic(), None
            try:
                await apart(run)
            except Exception as ended:
                error = ended
            told = {"part": part, "why": str(error or "") or repr(error), "exc_info": error}
            if stop is not None and stop.is_set():
                if error is not None:
                    log.error("part.failed_at_the_end", **told)
                return
            if time.monotonic() - began > _STEADY:
                pause = _FIRST_PAUSE
            log.error("part.ended", seconds_until_restart=pause, **told)
            restarts.inc()
            if await self._stopped(part, pause, stop or asyncio.Event()):
                return
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _stopped(self, part: str, seconds: float, stop: asyncio.Event) -> bool:
        self._missing[part] += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(seconds / 2, seconds)):  # noqa: S311
                    await stop.wait()
        finally:
            self._missing[part] -= 1
        return stop.is_set()

    async def check(self) -> None:
        """Return if every part is running.

        Raises:
            PartsMissing: some have ended, and are not started again yet.
        """
        if missing := sorted(part for part, number in self._missing.items() if number):
            raise PartsMissing(f"not running: {', '.join(missing)}")
