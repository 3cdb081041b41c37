"""The service is cancelled at each moment of its start and of its end: neither ever hangs.

A moment is what lies between two callbacks of the event loop, so one of them is that in which a
cancellation meets the answer that was waited for. `-m ''` tries them all, otherwise some are tried.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVarTuple

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process import run as app
from acme_orders.chassis.process.connected import message_broker
from acme_orders.chassis.process.shutdown import CLOSING, Shutdown
from acme_orders.chassis.settings import ChassisSettings

from readiness.scratch import rows_of
from tests.chassis.conftest import PROJECT, eventually, sold
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_MADE

Arguments = TypeVarTuple("Arguments")

FEW = 43  # callbacks from one moment to the next

_DONE = """
SELECT count(*) FROM (
    SELECT id FROM inbox
    UNION SELECT message_id FROM dead_letters WHERE reason = 'delivery_limit'
) AS done
"""


class Moments(asyncio.SelectorEventLoop):
    """An event loop that does something before one of its callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self._left, self._act = 0, list[Callable[[], object]]()

    def at(self, moment: int, act: Callable[[], object]) -> None:
        """Call `act` before the callback of this number, counted from now on."""
        self._left, self._act = moment, [act]

    @property
    def passed(self) -> bool:
        """Whether the moment is over."""
        return not self._act

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Schedule a callback, and count it when it is its turn."""

        def run() -> None:
            self._left -= 1
            if self._left <= 0 and self._act:
                self._act.pop()()
            callback(*args)

        return super().call_soon(run, context=context)


class Life:
    """One life of the service inside this process; `shutdown` is there when it has begun."""

    sales = 0  # that all lives together were sent

    def __init__(self, settings: ChassisSettings, loop: Moments) -> None:
        self.settings, self._loop = settings, loop
        self.shutdown: Shutdown | None = None

    async def cancelled_at_start(self, moment: int) -> None:
        """Cancel it in a moment after its beginning, until it consumes."""
        service = asyncio.create_task(app.run(SERVICE, self.settings, Metrics()))
        self._loop.at(moment, service.cancel)
        await eventually(lambda: self._loop.passed or _consumes())
        service.cancel()
        await self._ends(service)

    async def cancelled_at_the_end(self, moment: int) -> None:
        """Cancel it in a moment after a signal."""
        service = await self.told_to_stop()
        self._loop.at(moment, service.cancel)
        await self._reached(service)
        await self._ends(service)

    async def drained_too_long(self, moment: int) -> None:
        """Say in a moment after a signal that the time for the work under way is over."""
        service = await self.told_to_stop()
        assert self.shutdown is not None
        self._loop.at(moment, self.shutdown._cancel)
        await self._reached(service)
        await self._ends(service)
        assert not service.cancelled()

    async def works(self) -> None:
        """It does what was left, and is told to stop then."""
        service = asyncio.create_task(app.run(SERVICE, self.settings, Metrics()))
        await eventually(_consumes)
        await eventually(self._all_done)
        os.kill(os.getpid(), signal.SIGTERM)
        await self._ends(service)

    async def told_to_stop(self) -> asyncio.Task[None]:
        """It has messages in hand, and gets a signal."""
        async with message_broker(SERVICE.name, self.settings, Metrics()) as broker:
            for _ in range(10):
                await broker.publish(sold(), exchange="events", routing_key=SALE_MADE)
                Life.sales += 1
        service = asyncio.create_task(app.run(SERVICE, self.settings, Metrics()))
        await eventually(_consumes)
        os.kill(os.getpid(), signal.SIGTERM)
        return service

    async def _reached(self, service: asyncio.Task[None]) -> None:
        """The moment is over, or the work in hand was before it, which may take its time."""
        await eventually(lambda: self._loop.passed or service.done())

    async def _all_done(self) -> bool:
        """Each message was processed, or became a dead letter: too many lives ended with it."""
        done = await asyncio.to_thread(rows_of, self.settings.database_url, _DONE)
        return done == [(Life.sales,)]

    async def _ends(self, service: asyncio.Task[None]) -> None:
        """Within the time that it has, and it leaves nothing behind."""
        await asyncio.wait([service], timeout=CLOSING)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert service.done(), [task.get_coro() for task in others]
        assert service.cancelled() or service.exception() is None
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()}, within=CLOSING)


def _consumes() -> bool:
    """From all three queues."""
    return sum(task.get_name().startswith("subscription") for task in asyncio.all_tasks()) == 3


def _sockets() -> set[str]:
    """Those of this process, by number; a test before may have left one, which ends meanwhile."""
    found = set[str]()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(link.readlink().name)
    return {name for name in found if name.startswith("socket")}


@pytest.fixture
def lives(
    settings: ChassisSettings, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Moments], Life]:
    """Makes lives of the service on real servers; their last resort spares this process."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")  # feature: tracing
    monkeypatch.setattr(Shutdown, "_end_within", lambda *_: None)
    changes = {"broker_url": broker_url, "http_port": 0, "batch_size": 3, "concurrency": 2}

    def make(loop: Moments) -> Life:
        life = Life(settings.model_copy(update=changes), loop)

        def shutdown(*arguments: Any) -> Shutdown:
            life.shutdown = Shutdown(*arguments)
            return life.shutdown

        monkeypatch.setattr(app, "Shutdown", shutdown)
        return life

    return make


@pytest.mark.parametrize(
    "every", [FEW, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize(
    "cancelled",
    [
        pytest.param(Life.cancelled_at_start, marks=pytest.mark.long),
        Life.cancelled_at_the_end,
        pytest.param(Life.drained_too_long, marks=pytest.mark.long),
    ],
)
def test_a_cancellation_in_each_moment(
    cancelled: Callable[[Life, int], Coroutine[Any, Any, None]],
    every: int,
    lives: Callable[[Moments], Life],
) -> None:
    """It ends in time, and leaves no task and no socket."""

    def live(how: Callable[[Life], Coroutine[Any, Any, None]]) -> Moments:
        before = _sockets()
        with asyncio.Runner(loop_factory=Moments) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, Moments)
            runner.run(how(lives(loop)))
        assert _sockets() <= before
        return loop

    def at(moment: int) -> Callable[[Life], Coroutine[Any, Any, None]]:
        return lambda life: cancelled(life, moment)

    Life.sales, moments = 0, itertools.count(every, every)
    with capture_logs():
        live(Life.works)  # the queues are there
        while live(at(next(moments))).passed:
            pass
        live(Life.works)  # nothing is lost
    assert next(moments) > 5 * every
