"""Whatever becomes of standard error, the service starts, works, drains and ends as it should."""

import asyncio
import fcntl
import json
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected

from dev.ports import free_ports
from readiness.scratch import rows_of
from tests.chassis.conftest import PROJECT, eventually, sold
from tests.chassis.integration.test_operations import get
from tests.chassis.service import SERVICE

GOOD, BAD = 100, 100
PATIENCE = 60.0  # seconds; bad messages run one by one
LIMIT = 16_000  # bytes that fit on the disk
ORDER = "sale.made"
COMMAND = (sys.executable, "-m", "tests.chassis", "run", "--only", "consumer")


@dataclass
class Sink:
    """Where the log goes.

    Args:
        stderr: descriptor for the process, or how asyncio names one.
        reader: the other end of a pipe.
        command: that starts the service, and its arguments.
        before: done in the process before it starts.
    """

    stderr: int
    reader: int | None = None
    command: tuple[str, ...] = ()
    before: Callable[[], None] | None = None

    async def start(self, environment: dict[str, str]) -> Process:
        """Start the service with it."""
        started = await asyncio.create_subprocess_exec(
            *(*self.command, *COMMAND),
            cwd=PROJECT,
            env={**os.environ, **environment},
            stderr=self.stderr,
            preexec_fn=self.before,
        )
        if self.stderr >= 0:
            os.close(self.stderr)
        return started

    def close(self) -> None:
        """Nobody reads any more."""
        if self.reader is not None:
            os.close(self.reader)
            self.reader = None


def reader_gone() -> Sink:
    """As when a log shipper dies."""
    reader, writer = os.pipe()
    return Sink(writer, reader)


def stalled() -> Sink:
    """As when it hangs: the pipe is full before the first line."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4096)
    return Sink(writer, reader)


def full() -> Sink:
    """From the beginning there is no room."""
    return Sink(os.open("/dev/full", os.O_WRONLY))


def closed() -> Sink:
    """There is none at all."""
    return Sink(DEVNULL, command=("/bin/sh", "-c", 'exec "$@" 2>&-', "sh"))


SINKS = [reader_gone, stalled, full, closed]


@pytest.fixture
def environment(
    database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Settings of a process that has much to tell."""
    monkeypatch.chdir(PROJECT)
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": str(free_ports(1)[0]),
        "HTTP_PORT": "0",
        "LOG_BURST": "100000",
    }


@asynccontextmanager
async def process(sink: Sink, environment: dict[str, str]) -> AsyncIterator[Process]:
    """The service, ready; killed at the end if it still runs."""
    started = await sink.start(environment)
    try:
        await eventually(lambda: answers(started, environment), within=PATIENCE)
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
        sink.close()


async def answers(started: Process, environment: dict[str, str]) -> bool:
    """Whether it is ready; fails if it has ended."""
    assert started.returncode is None, f"it ended with status {started.returncode}"
    try:
        return (await get(int(environment["OPERATIONS_PORT"]), "/ready"))[0] == 200
    except OSError:
        return False


def bad() -> Message:
    """One that is worth a line."""
    return replace(sold(), body=b"{")


async def publish(environment: dict[str, str], *messages: Message) -> None:
    """Send them, as another service would."""
    values = {name.lower(): value for name, value in environment.items()}
    settings = SERVICE.load_settings(_env_file=None, **values)
    async with connected(SERVICE, settings, Metrics()) as service:
        for message in messages:
            await service.broker.publish(message, exchange="events", routing_key=ORDER)


async def work(environment: dict[str, str]) -> None:
    """Good messages and bad ones; each gets where it belongs."""
    good = (sold() for _ in range(GOOD))
    await publish(environment, *good, *(bad() for _ in range(BAD)))
    url = environment["DATABASE_URL"]

    def done() -> bool:
        return rows_of(url, "SELECT count(*) FROM sales") == [(GOOD,)] and rows_of(
            url, "SELECT count(*) FROM dead_letters"
        ) == [(BAD,)]

    await eventually(lambda: asyncio.to_thread(done), within=PATIENCE)


async def ends_well(service: Process) -> None:
    """Drain it."""
    service.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(service.wait(), 30) == 0


async def dropped(environment: dict[str, str]) -> int:
    """How many lines were not written, as the metrics say."""
    _, text = await get(int(environment["OPERATIONS_PORT"]), "/metrics")
    (line,) = [each for each in text.splitlines() if each.startswith("log_lines_dropped_total ")]
    return int(float(line.split()[1]))


@pytest.mark.parametrize("make", SINKS)
async def test_a_log_that_fails_stops_nothing(
    make: Callable[[], Sink], environment: dict[str, str]
) -> None:
    """It starts, processes each message, stays ready, counts the lines, drains and ends well."""
    sink = make()

    async def all_dropped() -> bool:
        return await dropped(environment) >= BAD

    async with process(sink, environment) as service:
        if make is reader_gone:
            sink.close()
        await work(environment)
        assert await answers(service, environment)
        if make is not stalled:  # the lines still wait there
            await eventually(all_dropped)
        await ends_well(service)


async def test_a_disk_with_room_again_gets_the_number(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Every line is JSON; those that are there and those that are counted are all."""
    log = tmp_path / "log"
    sink = Sink(
        os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        before=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )

    async def all_told() -> bool:
        written = log.read_bytes().count(b"message.dead_lettered")
        return written + await dropped(environment) >= BAD

    async with process(sink, environment) as service:
        await work(environment)
        await eventually(all_told)
        before = log.read_text().splitlines()
        os.truncate(log, 0)
        # Others than these lines may still have waited for a disk without room.
        await publish(environment, bad())
        await eventually(lambda: "log.lines_dropped" in log.read_text())
        lost = await dropped(environment)
        await ends_well(service)
    assert len(before) > 5
    assert all(json.loads(line)["event"] for line in before[:-1])  # the last one is torn
    after = [json.loads(line) for line in log.read_text().splitlines() if line]
    assert {"service.draining", "service.stopped"} <= {line["event"] for line in after}
    assert sum(line.get("lines", 0) for line in after) == lost


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    """Each of them."""
    found = request.param()
    yield found
    found.close()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"CONCURRENCY": "many"}, 78),
        ({"DATABASE_URL": "postgresql://me@127.0.0.1:1/none"}, 1),
    ],
)
async def test_the_exit_status_does_not_depend_on_the_log(
    sink: Sink, changes: dict[str, str], status: int, environment: dict[str, str]
) -> None:
    """An orchestrator goes by it."""
    started = await sink.start(environment | changes)
    assert await asyncio.wait_for(started.wait(), 30) == status


@pytest.mark.parametrize("style", ["json", pytest.param("console", marks=pytest.mark.long)])
async def test_an_encoding_that_lacks_letters_costs_no_line(
    style: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """A container without a locale has ASCII."""
    log = tmp_path / "log"
    environment |= {"PYTHONIOENCODING": "ascii:strict", "LOG_FORMAT": style}
    sink = Sink(os.open(log, os.O_WRONLY | os.O_CREAT))
    async with process(sink, environment) as service:
        await work(environment)
        assert await dropped(environment) == 0
        await ends_well(service)
    assert log.read_text("ascii").count("message.dead_lettered") == BAD
