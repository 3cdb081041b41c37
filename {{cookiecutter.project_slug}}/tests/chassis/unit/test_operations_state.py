"""How long the operations page takes when nothing answers, and what it shows then."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.operations import state
from acme_orders.chassis.operations.queries import Queries
from acme_orders.chassis.operations.state import State


class Hanging:
    """PostgreSQL that answers nobody, and how many ask it by the pool at once."""

    def __init__(self) -> None:
        self.asking = self.most = 0
        self.over = threading.Event()

    @asynccontextmanager
    async def transaction(self, *_: object, **__: object) -> AsyncIterator[None]:
        """None begins."""
        self.asking += 1
        self.most = max(self.most, self.asking)
        try:
            await asyncio.Event().wait()
            yield
        finally:
            self.asking -= 1

    @contextmanager
    def requests(self) -> Iterator[None]:
        """No session either."""
        self.over.wait()
        yield

    def pending(self) -> None:
        """Nor this one."""
        self.over.wait()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Until the end of a test."""
    postgresql = Hanging()
    yield postgresql
    postgresql.over.set()


async def test_all_that_hangs_hangs_at_once(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness and signs of life are there all the same; one asks the pool at a time."""
    metrics, database = Metrics(), SimpleNamespace(manager=hanging)
    metrics.part_heartbeat.labels("relay").set_to_current_time()
    queries: Any = Queries(metrics, Any, {}, url="")  # type: ignore[arg-type]
    monkeypatch.setattr(queries, "busiest", asyncio.Event().wait)
    monkeypatch.setattr(state, "_PATIENCE", 0.5)

    async def broker() -> None:
        """It is there."""

    given: dict[str, Any] = {"dead_letters": database, "outbox": database}
    given |= {"migrator": hanging, "eraser": hanging, "queries": queries, "version": "1.2.3"}
    shown = State(metrics, {"broker": broker}, **given)
    async with asyncio.timeout(30):
        text = "".join(await shown.sections())
    assert "<td>broker</td><td><span>ok</span></td>" in text
    assert "<td>relay</td>" in text
    assert f"version 1.2.3 on {socket.gethostname()}, process {os.getpid()}" in text
    assert text.count("no answer within 0.5 s") == 2
    assert text.count("no time was left") == 3
    assert text.index("Readiness") < text.index("Outbox") < text.index("Dead letters")
    assert (hanging.most, hanging.asking) == (1, 0)
