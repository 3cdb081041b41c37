"""Blocking work that hangs for longer than somebody waits for it."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from acme_orders.chassis.errors import DatabaseUnavailable
from acme_orders.chassis.migrations.reported import MigrationReport
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.retention.reported import RetentionReport

from tests.chassis.conftest import eventually

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
REPORTS: dict[str, Callable[[], Any]] = {
    "_read": lambda: MigrationReport(Migrator(NOWHERE), Metrics()),
    "read": lambda: RetentionReport(NOWHERE, policies=[], interval=1, metrics=Metrics()),
}


@pytest.mark.parametrize("method", REPORTS)
async def test_an_error_that_nobody_waits_for_any_more_is_no_line_of_the_log(method: str) -> None:
    """A scrape gives up while PostgreSQL hangs; asyncio would log a traceback for each."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    await _given_up(REPORTS[method](), method)
    gc.collect()
    assert told == []


async def _given_up(report: Any, method: str) -> None:
    """Two ask and give up one after the other, and then it fails."""
    hangs = threading.Event()

    def read() -> None:
        hangs.wait()
        raise DatabaseUnavailable("it does not answer")

    setattr(report, method, read)
    asked = [asyncio.create_task(report.update()) for _ in range(2)]
    await eventually(lambda: report._reading)
    for each in asked:
        assert not each.done()  # the one before has taken the answer from nobody
        each.cancel()
        await asyncio.wait([each])
    hangs.set()
    await eventually(report._reading.done)
