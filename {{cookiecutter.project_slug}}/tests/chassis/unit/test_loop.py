"""What blocks the event loop is named while it does."""

import asyncio
import threading
import time
from typing import Any

from structlog.testing import capture_logs

from acme_orders.chassis.observability.loop import watch_loop
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import Supervisor

LIMIT = 0.3  # seconds


def sleeps_without_await(log: list[Any], records: int) -> None:
    """Stand in the way of everybody until there are so many records, and a good while longer."""
    until = time.monotonic() + 60
    while len(log) < records and time.monotonic() < until:
        time.sleep(LIMIT)
    time.sleep(2 * LIMIT)


def watching_threads() -> int:
    """Count them by name: pools of other tests may start threads at any time."""
    return sum(thread.name == "loop-watch" for thread in threading.enumerate())


async def test_what_blocks_the_loop_is_named_once() -> None:
    """The log has its stack, one record for each time; the lag is measured."""
    metrics = Metrics()
    with capture_logs() as log:
        async with watch_loop(metrics, Supervisor(metrics), limit=LIMIT):
            for blockage in (1, 2):
                await asyncio.sleep(LIMIT)
                sleeps_without_await(log, blockage)
                await asyncio.sleep(LIMIT)
                blocked = [record for record in log if record["event"] == "event_loop.blocked"]
                assert len(blocked) == blockage
                assert "sleeps_without_await" in blocked[-1]["stack"]
    value = metrics.registry.get_sample_value
    assert value("event_loop_blocked_total") == 2
    in_time = value("event_loop_lag_seconds_bucket", {"le": "0.5"}) or 0
    # Or more: a busy machine may leave the whole process without a turn of its own.
    assert (value("event_loop_lag_seconds_count") or 0) - in_time >= 2


async def test_a_loop_that_turns_is_not_mentioned() -> None:
    """Waiting is not blocking; afterwards no thread is left."""
    metrics, before = Metrics(), watching_threads()
    with capture_logs() as log:
        # Longer than a busy machine may leave the whole process without a turn of its own.
        async with watch_loop(metrics, Supervisor(metrics), limit=6 * LIMIT):
            assert watching_threads() == before + 1
            await asyncio.sleep(8 * LIMIT)
    assert log == []
    assert metrics.registry.get_sample_value("event_loop_blocked_total") == 0
    assert watching_threads() == before
