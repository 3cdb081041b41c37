"""No error ends the relay or stops it for longer than its cause lasts: every class, every step."""

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import aiormq
import pytest
from aiormq import exceptions
from pamqp.commands import Basic
from structlog.testing import capture_logs

from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.relay.backlog import OutboxBacklog
from acme_orders.chassis.relay.leftovers import Leftovers
from acme_orders.chassis.relay.parked_types import ParkedTypes
from acme_orders.chassis.relay.pending import Pending
from acme_orders.chassis.relay.set_aside import SetAside

from tests.chassis.conftest import Connect, count, eventually, rows
from tests.chassis.integration.outbox_events import (
    HEARD,
    UNHEARD,
    add,
    listen,
    metric,
    numbers,
    relays,
    smuggle,
    unbind,
)

# Of each class one at least, and those that this service treats as something of their own.
STATES = re.findall(
    r"\w{5}",
    "02000 08006 0A000 21000 22P02 23502 23505 25006 25P03 26000 28000 2D000 34000 3D000 3F000 "
    "40001 40P01 42501 42P01 44000 53100 53300 54000 55P03 57014 57P01 58030 72000 F0000 HV000 "
    "P0001 XX000 UU000 ",
)
ERRORS = [
    AssertionError("bug"),
    SystemExit(1),
    asyncio.CancelledError("nobody asked for it"),
    KeyError("bug"),
    MemoryError(),
    OSError(24, "Too many open files"),
    RecursionError("bug"),
    StopAsyncIteration(),
    TimeoutError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bug"),
]
LATE = Queue("late", bindings=(UNHEARD,))
STEPS: dict[str, tuple[type, str]] = {
    "types": (ParkedTypes, "types"),
    "lease": (Pending, "lease"),
    "forget": (Pending, "published"),
    "park": (ParkedTypes, "park"),
    "probe": (ParkedTypes, "probe"),
    "release": (ParkedTypes, "release"),
    "set aside": (SetAside, "set_aside"),
    "adopt": (Leftovers, "adopt"),
    "expire": (Leftovers, "expire"),
    "report": (OutboxBacklog, "pending"),
}
# Shorter than in production, so that each step is met hundreds of times in this file.
WAITS = {
    "relay.parked_types._LONGEST_WAIT": 0.05,
    "relay.parked_types._UNDER_WAY": 0.2,
    "relay.prober._IDLE": 0.05,
    "relay.prober._TIDY_EVERY": 0.05,
    "relay.relay._REPORT_EVERY": 0.05,
    "messaging.steady._FIRST_PAUSE": 0.005,
}
FAIL = """
    CREATE FUNCTION fail(state text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'fail' USING ERRCODE = state; END $$
"""


@pytest.fixture
async def service(
    connect: Connect, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """The service on a real RabbitMQ; its relay tidies up and reports all the time."""
    for name, seconds in WAITS.items():
        monkeypatch.setattr(f"acme_orders.chassis.{name}", seconds)
    with capture_logs():  # hundreds of tracebacks
        async with connect(broker_url=broker_url, relay_lease=3) as connected:
            await rows(connected, FAIL)
            yield connected


@contextmanager
def failing(step: str) -> Iterator[tuple[list[Any], Callable[[], int]]]:
    """What is in the list goes wrong in this step: a SQLSTATE in PostgreSQL, an error in Python."""
    owner, name = STEPS[step]
    method, causes, met = getattr(owner, name), list[Any](), 0

    async def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal met
        for cause in causes:
            met += 1
            if isinstance(cause, BaseException):
                raise cause.with_traceback(None)
            await self.manager.fetch_sql("SELECT fail(%s)", cause)
        return await method(self, *args, **kwargs)

    with patch.object(owner, name, fail):
        yield causes, lambda: met


async def rounds(service: Service, step: str, causes: Sequence[Any]) -> None:
    """Let each cause meet the step once or more, and see that all goes on after it."""
    heard = await listen(service, HEARD)
    with failing(step) as (wrong, met):
        async with relays(service):
            for number, cause in enumerate(causes):
                before = met()
                wrong.append(cause)
                await add(service, (HEARD, "any", number), (UNHEARD, "any", number))
                if step == "set aside":
                    await smuggle(service, type="repeat('t', 300)")
                if step == "release":  # only of what is parked
                    await eventually(lambda: count(service, "parked_types"))
                    await service.broker.declare("events", [LATE])
                await eventually(lambda: met() > before)  # noqa: B023
                wrong.clear()
                await eventually(lambda: len(heard) > number)  # noqa: B023
                if step == "release":  # else what is left of this round is taken for the next one's
                    await eventually(partial(_nothing_is_parked, service))
                    await unbind(service, UNHEARD, LATE.name)
            await eventually(lambda: _is_well(service))
            await eventually(lambda: not metric(service, "relay_paused"))
    assert numbers(heard, HEARD) == [*range(len(causes))]
    expected = len(causes) if step == "set aside" else 0
    assert await count(service, "dead_letters") == expected


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("step", STEPS)
async def test_whatever_postgresql_says(service: Service, step: str, every: int) -> None:
    """An event that came in the bad time is out soon after it, once."""
    first = list(STEPS).index(step) % every  # the steps together meet all of them
    await rounds(service, step, STATES[first::every])


@pytest.mark.parametrize("step", STEPS)
async def test_whatever_python_says(service: Service, step: str) -> None:
    """A bug of ours, or a cancellation that nobody asked for."""
    await rounds(service, step, ERRORS)


def everything(error: type[BaseException] = exceptions.AMQPError) -> Iterator[BaseException]:
    """An error of each class that aiormq has, and of those that come through it."""
    for each in error.__subclasses__():
        if each.__module__.startswith("aiormq"):
            yield from everything(each)
    if issubclass(error, exceptions.DeliveryError):
        yield exceptions.DeliveryError(None, Basic.Nack(delivery_tag=1))
    else:
        yield error(320, "CONNECTION_FORCED")


MANY = 20  # events; ten that fail three times, each alone, could be to blame
PUBLISHING = [
    *everything(),
    *ERRORS,
    Exception("aiormq raises this itself"),
    asyncio.InvalidStateError(),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    RuntimeError("closed"),
    ssl.SSLError("bad record"),
    TypeError("bug"),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("where", ["before", "after"])
async def test_whatever_a_publish_raises(service: Service, where: str, every: int) -> None:
    """Of every event for a while, before it is sent or after; no event is blamed for it."""
    heard, causes, met = await listen(service, HEARD), list[BaseException](), 0
    errors = PUBLISHING[::every] if where == "before" else PUBLISHING[every // 2 :: every]
    publish = aiormq.Channel.basic_publish

    async def fail(self: aiormq.Channel, *args: Any, **kwargs: Any) -> Any:
        nonlocal met
        if where == "after":
            await publish(self, *args, **kwargs)
        for cause in causes:
            met += 1
            raise cause.with_traceback(None)
        if where == "before":
            return await publish(self, *args, **kwargs)
        return None

    with patch.object(aiormq.Channel, "basic_publish", fail):
        async with relays(service):
            for number, cause in enumerate(errors):
                before = met
                causes.append(cause)
                await add(service, *((HEARD, "any", number) for _ in range(MANY)), ordered=False)
                await eventually(lambda: met > before + 25)  # noqa: B023
                causes.clear()
                await eventually(lambda: _is_well(service))
    arrived = Counter(numbers(heard, HEARD))
    assert set(arrived) == {*range(len(errors))}
    if where == "before":
        assert set(arrived.values()) == {MANY}
    assert await count(service, "dead_letters") == 0


async def _nothing_is_parked(service: Service) -> bool:
    return not await count(service, "parked_types")


async def _is_well(service: Service) -> bool:
    """Whether nothing waits but events that nobody listens to."""
    found = await rows(
        service, f"SELECT 1 FROM outbox WHERE available_at < 'infinity' OR type <> '{UNHEARD}'"
    )
    return not found
