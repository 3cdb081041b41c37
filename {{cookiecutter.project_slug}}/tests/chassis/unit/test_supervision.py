"""Only a cancellation that we asked for ends a part; any other end is seen, and mended."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis import supervision
from acme_orders.chassis.errors import CommitUnknown, Interrupted, PartsMissing
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import Supervisor, apart

from tests.chassis.conftest import eventually

PART = {"part": "p"}


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def own_task_is_cancelled() -> None:
    """As by a library that takes the task that calls it for one of its own."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def raised() -> None:
    """Out of nothing."""
    raise asyncio.CancelledError


async def exits() -> None:
    """As a command line would."""
    sys.exit(1)


async def interrupted() -> None:
    """As Ctrl-C would."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("work", [own_task_is_cancelled, raised, exits, interrupted])
async def test_what_nobody_asked_for_is_an_error(
    work: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Whoever awaits it goes on, and is not cancelled."""
    with pytest.raises(Interrupted, match="which nobody here asked for") as caught:
        await apart(work)
    assert isinstance(caught.value.__cause__, BaseException)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_results_and_errors_pass() -> None:
    """As if it had been awaited."""

    async def seven() -> int:
        return 7

    async def fails() -> None:
        raise LookupError("as it is")

    assert await apart(seven) == 7
    with pytest.raises(LookupError, match="as it is"):
        await apart(fails)


async def test_what_is_done_is_done() -> None:
    """A cancellation that nobody asked for, and that came too late, takes nothing back."""

    async def seven() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return 7

    assert await apart(seven) == 7


async def test_an_end_that_says_what_it_interrupted() -> None:
    """In the middle of a COMMIT it is no failure of the work: nobody knows."""

    async def commits() -> None:
        raise asyncio.CancelledError from CommitUnknown("while COMMIT was under way")

    with pytest.raises(CommitUnknown):
        await apart(commits)


@pytest.mark.parametrize("turns", [0, 3])
async def test_our_cancellation_ends_it_and_waits_for_its_end(turns: int) -> None:
    """Its transaction has to be rolled back before anything else happens."""
    ended = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    task = asyncio.create_task(apart(work))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended == [True] * bool(turns)


async def test_a_cancellation_that_is_swallowed_is_sent_again() -> None:
    """Whoever asked twice is heard twice."""
    asked = 0

    async def work() -> None:
        nonlocal asked
        while asked < 2:
            try:
                await forever()
            except asyncio.CancelledError:
                asked += 1

    task = asyncio.create_task(apart(work))
    for _ in range(2):
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
    await asyncio.wait([task], timeout=5)
    assert (task.cancelled(), asked) == (True, 2)


class Part:
    """Ends in these ways, one after the other, and then goes on for ever."""

    def __init__(self, *ways: Callable[[], Awaitable[None]]) -> None:
        self._ways, self.begun = list(ways), 0

    async def run(self) -> None:
        """End in the next way."""
        self.begun += 1
        await (self._ways.pop(0) if self._ways else forever)()


async def returns() -> None:
    """End as if all were done."""


async def fails() -> None:
    """A bug."""
    raise LookupError("a bug")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_FIRST_PAUSE", 0.05)


async def test_a_part_that_has_ended_is_started_again() -> None:
    """However it ended; it is counted and said, and as long as it is missing, so is that."""
    metrics = Metrics()
    supervisor = Supervisor(metrics)
    ways = (returns, fails, own_task_is_cancelled, raised, exits)
    part = Part(*ways)
    with capture_logs() as logs:
        task = asyncio.create_task(supervisor.keep("p", part.run))
        await eventually(lambda: part.begun == 1)
        with pytest.raises(PartsMissing, match="not running: p"):
            await supervisor.check()
        await eventually(lambda: part.begun == len(ways) + 1)
    await supervisor.check()
    assert metrics.registry.get_sample_value("part_restarts_total", PART) == len(ways)
    assert [each["event"] for each in logs] == ["part.ended"] * len(ways)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that ends at once again and again is no busy loop."""
    monkeypatch.setattr(supervision, "_LONGEST_PAUSE", 0.15)
    with capture_logs() as logs:
        part = Part(*[fails] * 4)
        task = asyncio.create_task(Supervisor(Metrics()).keep("p", part.run))
        await eventually(lambda: part.begun == 5)
        task.cancel()
    assert [each["seconds_until_restart"] for each in logs] == [0.05, 0.1, 0.15, 0.15]


async def test_a_part_that_has_to_stop_is_not_started_again() -> None:
    """Neither one that ends in order, nor one that fails meanwhile, nor one that waits for it."""
    supervisor, stop = Supervisor(Metrics()), asyncio.Event()
    stop.set()
    part = Part(returns)
    await supervisor.keep("p", part.run, stop)
    failing = Part(fails)
    with capture_logs() as logs:
        await supervisor.keep("p", failing.run, stop)
    assert [each["event"] for each in logs] == ["part.failed_at_the_end"]
    waiting, later = Part(fails), asyncio.Event()
    with capture_logs() as logs:
        task = asyncio.create_task(supervisor.keep("p", waiting.run, later))
        await eventually(lambda: logs)
        later.set()
        await task
    assert part.begun == failing.begun == waiting.begun == 1
    await supervisor.check()
