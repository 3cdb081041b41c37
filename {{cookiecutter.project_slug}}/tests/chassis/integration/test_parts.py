"""Every part that ends is started again, and `/ready` is red meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis import supervision
from acme_orders.chassis.errors import PartsMissing
from acme_orders.chassis.process.run import probes
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, count, eventually, send, settled, sold
from tests.chassis.integration.test_protection import metric


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on RabbitMQ."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


def once(owner: Any, method: str, error: BaseException) -> Callable[[], bool]:
    """Have a method raise this error the next time; returns whether that has happened."""
    real, raised = getattr(owner, method), False

    async def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal raised
        setattr(owner, method, real)
        raised = True
        raise error

    setattr(owner, method, failing)
    return lambda: raised


# Where each part waits; the consumer's workers wait for the broker when they ack. The relay waits
# everything out: see test_relay_errors.py.
PARTS: dict[str, Callable[[Service], tuple[Any, str]]] = {
    "archiver": lambda service: (service.archiver, "_store"),
    "consume acme-orders": lambda service: (service.broker, "ack"),
    "consumer": lambda service: (service.broker, "consume"),
}


ENDS = (asyncio.CancelledError(), SystemExit(1), LookupError("a bug"))


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (part, error)
        for part in PARTS
        for error in ENDS
        # What the archiver and a worker wait out as well.
        if not (part.startswith(("archiver", "consume ")) and isinstance(error, Exception))
    ],
)
async def test_a_part_that_ends_is_started_again(
    service: Service, part: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker, the consumer, the archiver: what it had in hand is done, and what comes after."""
    monkeypatch.setattr(supervision, "_FIRST_PAUSE", 1.0)
    stop = asyncio.Event()
    raised = once(*PARTS[part](service), error)
    with capture_logs() as logs:
        async with asyncio.timeout(240), asyncio.TaskGroup() as group:
            group.create_task(service.consume(stop))
            group.create_task(service.publish(stop))
            bad = sold(lines=[])
            await send(service, *(sold() for _ in range(5)), bad)
            await eventually(raised)
            await eventually(lambda: missing(service, part))
            await send(service, *(sold() for _ in range(5)))
            await eventually(lambda: done(service))
            await eventually(lambda: missing(service, ""))
            stop.set()
    assert metric(service, "part_restarts_total", part=part) == 1
    assert [each["part"] for each in logs if each["event"] == "part.ended"] == [part]


async def missing(service: Service, part: str) -> bool:
    """Whether this part, and no other, is said not to be running; none with an empty text."""
    try:
        await service.supervisor.check()
    except PartsMissing as error:
        return str(error) == f"not running: {part}"
    return not part


async def done(service: Service) -> bool:
    """Whether ten sales are stored, and the bad one is in the archive."""
    found = (await count(service, "sales"), await count(service, "dead_letters"))
    return found == (10, 1) and settled(service, "done") + settled(service, "duplicate") >= 10


def test_ready_names_no_part_that_does_not_run_here(service: Service) -> None:
    """An "ok" would say that somebody consumes."""
    alone = {"postgresql", "running", "parts"}
    for only, more in {
        None: {"broker", "consumer", "relay", "topology"},
        "consumer": {"broker", "consumer", "topology"},
        "relay": {"broker", "relay", "topology"},
        "retention": set[str](),
        "api": set[str](),
    }.items():
        assert probes(service, asyncio.Event(), only=only).keys() == alone | more
