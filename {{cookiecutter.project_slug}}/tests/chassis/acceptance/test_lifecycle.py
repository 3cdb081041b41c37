"""From SIGTERM to the end of the process, with everything in the way that can be in the way.

Real processes on servers of this module alone, which are killed and frozen.
"""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from typing import Any

import psutil
import pytest

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.shutdown import CLOSING

from dev.postgres import Postgres
from dev.rabbitmq import RabbitMQ
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: schema
from tests.chassis.conftest import PROJECT, eventually, frozen, migrate, send, sold
from tests.chassis.integration.test_operations import get
from tests.chassis.service import SERVICE

DRAIN = 1.5  # seconds
MARGIN = 10.0  # seconds; the machine has other things to do, and Python has to end
Server = Postgres | RabbitMQ


class Running:
    """A process of the service, and what it says."""

    def __init__(self, process: Process) -> None:
        self.process, self.log, self.text = process, list[dict[str, Any]](), ""

    def said(self, event: str) -> dict[str, Any]:
        """The first record of this name; empty if there is none yet."""
        return next((record for record in self.log if record["event"] == event), {})

    async def says(self, event: str) -> dict[str, Any]:
        """The same, as soon as it is there: a log comes later than what it tells of."""
        await eventually(lambda: self.said(event))
        return self.said(event)

    async def ready(self) -> None:
        """Wait until it works."""
        await eventually(lambda: self.said("service.ready"), within=120)

    async def status(self, path: str) -> int:
        """How the operations port answers; 0 if it does not."""
        try:
            return (await get(self.said("service.ready")["port"], path))[0]
        except (OSError, HTTPException):
            return 0

    async def answers(self, path: str, status: int) -> None:
        """Wait until it does."""

        async def so() -> bool:
            return await self.status(path) == status

        await eventually(so, within=60)

    async def ends(self, *signals: signal.Signals) -> tuple[int, float]:
        """Send signals, one after the other; returns the exit status and how long it took."""
        began = time.monotonic()
        for number, each in enumerate(signals):
            if number:
                await eventually(lambda: self.said("service.draining"))
            self.process.send_signal(each)
        status = await asyncio.wait_for(self.process.wait(), 60)
        return status, time.monotonic() - began

    async def read(self) -> None:
        """Collect its log until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.text += line.decode()
            if line.startswith(b"{"):
                self.log.append(json.loads(line))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this module alone."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ of this module alone."""
    with RabbitMQ() as server:
        yield server


@pytest.fixture(scope="module")
def migrated_here(postgres: Postgres) -> str:
    """A database with the schema."""
    url = postgres.create_database()
    migrate(url)
    return url


@pytest.fixture
def environment(
    postgres: Postgres, rabbitmq: RabbitMQ, migrated_here: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Settings of a process on these servers, with short time limits."""
    monkeypatch.chdir(PROJECT)
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": postgres.create_database(template=migrated_here),
        "BROKER_URL": rabbitmq.create_virtual_host(),
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": "0",
        "HTTP_PORT": "0",
        "HEARTBEAT": "1",
        "RELAY_POLL": "100ms",
        "LOCK_TIMEOUT": "50s",
        "STATEMENT_TIMEOUT": "55s",
        "HTTP_TIMEOUT": "60s",  # feature: http_api
        "DRAIN_TIMEOUT": f"{DRAIN}s",
    }


@asynccontextmanager
async def process(environment: dict[str, str], *arguments: str) -> AsyncIterator[Running]:
    """The service; killed at the end if it still runs."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chassis", "run", *arguments),
        cwd=PROJECT,
        env={**os.environ, **environment},
        stderr=PIPE,
    )
    running = Running(started)
    reading = asyncio.create_task(running.read())
    try:
        yield running
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
        await reading
        sys.stderr.write(running.text)


@contextmanager
def killed(server: Server) -> Iterator[None]:
    """It is gone, as after a power failure, until the end."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@asynccontextmanager
async def stuck(environment: dict[str, str]) -> AsyncIterator[Callable[[], None]]:
    """A message that waits in its handler for a lock; call the result to let it go on."""
    url = environment["DATABASE_URL"]
    with closing(open_blocking(url)) as session, session.cursor() as cursor:
        cursor.execute(f"SET search_path = tenant_{TENANT.hex}, public")  # feature: schema
        cursor.execute("BEGIN; LOCK TABLE inbox")
        values = {name.lower(): value for name, value in environment.items()}
        async with connected(
            SERVICE, SERVICE.load_settings(_env_file=None, **values), Metrics()
        ) as service:
            await send(service, sold())
        yield session.close


def waits(environment: dict[str, str]) -> bool:
    """Whether somebody waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return rows_of(environment["DATABASE_URL"], waiting) == [(1,)]


async def test_sigterm_finishes_what_is_under_way(environment: dict[str, str]) -> None:
    """Meanwhile the probes answer, not ready any more, and the metrics say for how long."""
    environment["DRAIN_TIMEOUT"] = "20s"
    async with process(environment) as running, stuck(environment) as let_go:
        await running.ready()
        await running.answers("/ready", 200)
        await eventually(lambda: waits(environment))
        running.process.terminate()
        await running.answers("/ready", 503)
        port = running.said("service.ready")["port"]
        assert await running.status("/live") == 200
        _, text = await get(port, "/metrics")
        (draining,) = [line for line in text.splitlines() if line.startswith("drain_duration")]
        assert float(draining.split()[1]) > 0
        assert 'db_migration_duration_seconds_count{direction="up",outcome="ok"}' in text
        let_go()
        assert await asyncio.wait_for(running.process.wait(), 20) == 0
    (done,) = rows_of(environment["DATABASE_URL"], "SELECT count(*) FROM inbox")
    assert done == (1,)
    assert running.said("service.draining")["seconds"] == 20
    assert 0 < running.said("service.stopped")["seconds"] < 20


async def test_a_second_signal_ends_it_at_once(environment: dict[str, str]) -> None:
    """It says so, with status 1."""
    environment["DRAIN_TIMEOUT"] = "20s"
    async with process(environment) as running, stuck(environment):
        await running.ready()
        await eventually(lambda: waits(environment))
        status, seconds = await running.ends(signal.SIGTERM, signal.SIGTERM)
    assert status == 1
    assert seconds < MARGIN
    assert running.said("service.aborted")


async def test_a_handler_that_hangs_is_given_up_in_time(environment: dict[str, str]) -> None:
    """Its work rolls back, and the message is delivered again to the next process."""
    async with process(environment) as running, stuck(environment):
        await running.ready()
        await eventually(lambda: waits(environment))
        status, seconds = await running.ends(signal.SIGTERM)
    assert status == 0
    assert DRAIN <= seconds < DRAIN + CLOSING + MARGIN
    async with process(environment) as running:
        await eventually(
            lambda: rows_of(environment["DATABASE_URL"], "SELECT count(*) FROM inbox") == [(1,)]
        )


@pytest.mark.parametrize(
    ("which", "outage"),
    [
        ("postgres", killed),
        ("rabbitmq", frozen),
        pytest.param("postgres", frozen, marks=pytest.mark.long),
        pytest.param("rabbitmq", killed, marks=pytest.mark.long),
    ],
)
async def test_an_outage_is_survived_and_never_delays_the_end(
    which: str,
    outage: Callable[[Server], Any],
    environment: dict[str, str],
    postgres: Postgres,
    rabbitmq: RabbitMQ,
) -> None:
    """Not ready but alive, ready again by itself; in the next outage SIGTERM ends it in time."""
    server = postgres if which == "postgres" else rabbitmq
    async with process(environment) as running:
        await running.ready()
        await running.answers("/ready", 200)
        if which == "rabbitmq":
            await eventually(rabbitmq.queues_written)
        out = outage(server)
        await asyncio.to_thread(out.__enter__)
        try:
            await running.answers("/ready", 503)
            assert await running.status("/live") == 200
        finally:
            await asyncio.to_thread(out.__exit__, None, None, None)
        await running.answers("/ready", 200)
        out = outage(server)
        await asyncio.to_thread(out.__enter__)
        try:
            await running.answers("/ready", 503)
            status, seconds = await running.ends(signal.SIGTERM)
        finally:
            await asyncio.to_thread(out.__exit__, None, None, None)
    assert status == 0
    assert seconds < DRAIN + CLOSING + MARGIN
    assert "Traceback" not in running.text


@pytest.mark.parametrize("which", ["postgres", "rabbitmq"])
async def test_sigterm_ends_a_start_at_once(
    which: str, environment: dict[str, str], postgres: Postgres, rabbitmq: RabbitMQ
) -> None:
    """It waits for a server that does not answer, and has nothing to drain."""
    with frozen(postgres if which == "postgres" else rabbitmq):
        async with process(environment) as running:
            started = psutil.Process(running.process.pid)
            await eventually(lambda: _connects(started, which, environment))
            status, seconds = await running.ends(signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert seconds < MARGIN
    assert "Traceback" not in running.text


def _connects(started: psutil.Process, which: str, environment: dict[str, str]) -> bool:
    url = environment["DATABASE_URL" if which == "postgres" else "BROKER_URL"]
    port = int(url.rpartition(":")[2].partition("/")[0])
    return any(each.raddr and each.raddr.port == port for each in started.net_connections())


@pytest.mark.parametrize(
    "moments", [5, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_sigterm_in_any_moment_of_a_start(moments: int, environment: dict[str, str]) -> None:
    """From the first lines of Python until it is at work."""
    began = time.monotonic()
    async with process(environment) as running:
        await running.ready()
        start = time.monotonic() - began
        await running.ends(signal.SIGTERM)
    for moment in range(moments):
        async with process(environment) as running:
            await asyncio.sleep(1.2 * start * moment / moments)
            status, seconds = await running.ends(signal.SIGTERM)
        assert status in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        assert seconds < DRAIN + CLOSING + MARGIN
        assert "Traceback" not in running.text


@pytest.mark.parametrize("lives", [1, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("when", ["at start", pytest.param("at work", marks=pytest.mark.long)])
async def test_a_part_that_fails_never_leaves_half_a_process(
    lives: int, when: str, environment: dict[str, str]
) -> None:
    """Its table is away: each process goes on when it is back, or has ended by then."""
    url = environment["DATABASE_URL"]
    values = {name.lower(): value for name, value in environment.items()}
    for life in range(1, lives + 1):
        async with connected(
            SERVICE, SERVICE.load_settings(_env_file=None, **values), Metrics()
        ) as service:
            await send(service, *(sold() for _ in range(30)))
        async with process(environment) as running:
            if when == "at work":
                await running.ready()
            rows_of(url, "ALTER TABLE outbox RENAME TO away")
            await eventually(lambda: running.said("service.ready") or _ended(running))
            await asyncio.sleep(DRAIN)  # long enough to fail, and to hang
            rows_of(url, "ALTER TABLE away RENAME TO outbox")
            with suppress(TimeoutError):
                await eventually(lambda: _ended(running), within=2 * CLOSING)
            if not _ended(running):
                await running.answers("/ready", 200)
                assert (await running.ends(signal.SIGTERM))[0] == 0
        async with process(environment) as running:
            await running.ready()
            await eventually(partial(_done, url, 30 * life))
            assert (await running.ends(signal.SIGTERM))[0] == 0


def _ended(running: Running) -> bool:
    return running.process.returncode is not None


def _done(url: str, sales: int) -> bool:
    return rows_of(url, "SELECT count(*) FROM inbox") == [(sales,)]


# feature: http_api {
async def test_the_api_alone_needs_no_rabbitmq(environment: dict[str, str]) -> None:
    """It stores events; a relay elsewhere publishes them."""
    environment["BROKER_URL"] = "amqp://127.0.0.1:1/"
    async with process(environment, "--only", "api") as running:
        await running.ready()
        await running.answers("/ready", 200)
        port = running.said("service.ready")["port"]
        said = json.loads((await get(port, "/ready"))[1])
        assert said.keys() == {"postgresql", "running", "parts"}
        assert (await running.ends(signal.SIGTERM))[0] == 0


# feature: http_api }
