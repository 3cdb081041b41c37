"""PostgreSQL goes away in every way it can, under load; with every driver that is here.

Callers get an error that says so, within their time limits, and the same Manager works again when
PostgreSQL does. What was acknowledged is there, what failed is not.
"""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    closing,
    suppress,
)

import pytest
import structlog

from acme_orders.chassis.database import lease
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings, Timeouts
from acme_orders.chassis.errors import (
    CommitUnknown,
    DatabaseUnavailable,
    StatementTimeout,
)
from acme_orders.chassis.observability.metrics import Metrics

from dev.postgres import Postgres
from tests.chassis.conftest import apply_migrations, eventually, frozen
from tests.chassis.integration.hazards_bare import DRIVERS, use_driver, watching
from tests.chassis.integration.test_hazards import insert, prepared

MOST = 12  # connections that the server allows
SIZE = 4  # connections that the pool may have
TASKS = 8
APPLICATION = "outages"
OURS = f"FROM pg_stat_activity WHERE application_name = '{APPLICATION}'"
KILL = f"SELECT pg_terminate_backend(pid, 5000) {OURS}"
LASTING = f"""
    SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
    AND application_name IN ('others', 'hazards', '{APPLICATION}')
"""
LIMIT = 1.0  # second, for each of them
GRACE = 0.3  # seconds, instead of the Manager's own
# A wait for a connection, and one statement without an answer: then the connection is given up.
LONGEST = LIMIT + LIMIT + GRACE
MARGIN = 10.0  # seconds; the machine has other things to do


class Load:
    """Tasks that insert one row after the other, and account for each.

    Args:
        database: that they share.
        metrics: of this manager.
        url: of the database.
    """

    def __init__(self, database: Manager, metrics: Metrics, url: str) -> None:
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.failed: set[int] = set()
        self.errors: Counter[str] = Counter()
        self.slowest = 0.0
        self.database, self._metrics, self._url = database, metrics, url
        self._numbers = itertools.count(1)
        self._ended: Counter[int] = Counter()
        self._succeeded: Counter[int] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks; any error but an outage ends them and is raised."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for task in range(TASKS):
                group.create_task(self._work(task, stop))
            try:
                yield
            finally:
                stop.set()

    async def every_task_succeeds(self) -> None:
        """Wait until each of them has inserted one more row than what may be under way."""
        before = self._succeeded.copy()
        await eventually(
            lambda: all(self._succeeded[task] > before[task] + 1 for task in range(TASKS))
        )

    async def every_task_is_told(self) -> None:
        """Wait until each of them has seen the outage: one more failure than was under way."""
        before = self._ended - self._succeeded
        await eventually(
            lambda: all(
                (self._ended - self._succeeded)[task] > before[task] + 1 for task in range(TASKS)
            )
        )

    @property
    def connections(self) -> dict[str, float]:
        """How many there are in the pool, by state."""
        value = self._metrics.registry.get_sample_value
        return {
            state: value("db_client_connections", {"state": state}) or 0
            for state in ("used", "idle")
        }

    def check(self) -> None:
        """Nobody waited too long, nothing is in use, and the table has what it should."""
        assert self.slowest < LONGEST + MARGIN, self.errors
        assert self.connections["used"] == 0
        with watching(self._url) as ask:
            found = {number for (number,) in ask("SELECT id FROM hazard")}
        assert self.acknowledged <= found
        assert found <= self.acknowledged | self.unknown
        assert self.acknowledged

    async def _work(self, task: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number, began = next(self._numbers), time.monotonic()
            try:
                async with self.database.transaction("load"):
                    await insert(self.database, number)
            # A machine that stands still for LIMIT is an outage as well.
            except (DatabaseUnavailable, StatementTimeout) as error:
                ended = self.unknown if isinstance(error, CommitUnknown) else self.failed
                ended.add(number)
                self.errors[type(error).__name__] += 1
            else:
                self.acknowledged.add(number)
                self._succeeded[task] += 1
            self._ended[task] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Hundreds of failed statements are meant here, and nobody reads their records."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server of this module alone, which has few connections."""
    with Postgres(settings={"max_connections": str(MOST)}) as running:
        yield running


@pytest.fixture(scope="module")
def migrated_here(server: Postgres) -> str:
    """A database with the schema, and so with the roles that are in use."""
    url = server.create_database()
    apply_migrations(url)
    return url


@pytest.fixture(params=DRIVERS)
async def load(
    request: pytest.FixtureRequest,
    server: Postgres,
    migrated_here: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Load]:
    """A manager that has one connection, and an empty table."""
    use_driver(request.param, monkeypatch)
    monkeypatch.setattr(lease, "_GRACE", GRACE)
    url = server.create_database(template=migrated_here)
    settings = DatabaseSettings(
        database_url=url,
        pool_size=SIZE,
        acquire_timeout=LIMIT,
        connect_timeout=LIMIT,
        statement_timeout=LIMIT,
        lock_timeout=LIMIT,
    )
    async with prepared(url), AsyncExitStack() as stack:
        found = list[Load]()

        async def opened() -> bool:
            metrics = Metrics()
            manager = Manager(settings, metrics, application=APPLICATION)
            with suppress(DatabaseUnavailable):  # a machine that stands still for LIMIT
                database = await stack.enter_async_context(manager)
                found.append(Load(database, metrics, url))
            return bool(found)

        await eventually(opened)
        yield found[0]
    server.drop_database(url)


@asynccontextmanager
async def full(server: Postgres) -> AsyncIterator[ExitStack]:
    """Others have all connections that the server would still allow, until this is closed."""
    with ExitStack() as stack:
        others = f"{server.url}?application_name=others"
        first = stack.enter_context(closing(open_blocking(others)))

        def taken() -> bool:
            with suppress(DatabaseUnavailable):
                while True:
                    stack.enter_context(closing(open_blocking(others)))
            with first.cursor() as cursor:
                cursor.execute(LASTING)  # anybody else is about to leave, and makes room
                return bool(cursor.fetchall() == [(MOST,)])

        await eventually(taken)
        yield stack


async def test_killed_sessions(load: Load, server: Postgres) -> None:
    """Whoever was inside one is told, and everybody has a new one at once."""
    with watching(server.url) as ask:
        async with load.running():
            for _ in range(5):
                await load.every_task_succeeds()
                with pytest.raises(DatabaseUnavailable):
                    async with load.database.transaction("inside"):
                        await load.database.fetch_sql("SELECT 1")
                        ask(KILL)
            await load.every_task_succeeds()
    load.check()


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_restart(load: Load, server: Postgres, how: str) -> None:
    """A power failure and an orderly stop are the same to the callers: a short outage."""
    async with load.running():
        await load.every_task_succeeds()
        try:
            await asyncio.to_thread(getattr(server, how))
            await load.every_task_is_told()
            await asyncio.sleep(1)  # so long it is away
        finally:
            await asyncio.to_thread(server.start)
        await load.every_task_succeeds()
    load.check()


async def test_no_room_for_more_connections(load: Load, server: Postgres) -> None:
    """The one that is there serves all; when there is room the pool grows."""
    async with full(server) as others, load.running():
        await load.every_task_succeeds()
        assert sum(load.connections.values()) == 1
        others.close()
        await eventually(lambda: sum(load.connections.values()) == SIZE)
        await load.every_task_succeeds()
    load.check()


async def test_no_room_for_any_connection(load: Load, server: Postgres) -> None:
    """Everybody is told at once, and served when there is room."""
    with watching(server.url) as ask:
        ask(KILL)
    async with full(server) as others, load.running():
        await load.every_task_is_told()
        assert not load.acknowledged
        assert load.errors.keys() == {"DatabaseUnavailable"}
        others.close()
        await load.every_task_succeeds()
    load.check()


async def test_no_answer(load: Load, server: Postgres) -> None:
    """A time limit ends every wait: for an answer, for a connection, and for a new one."""
    async with load.running():
        await load.every_task_succeeds()
        with frozen(server):
            await load.every_task_is_told()
        await load.every_task_succeeds()
    assert load.errors["PoolExhausted"]
    assert load.errors["DatabaseUnavailable"] + load.errors["CommitUnknown"]
    load.check()


async def test_no_answer_within_the_time_limit_of_the_caller(load: Load, server: Postgres) -> None:
    """A cancellation does not wait for PostgreSQL either."""
    with frozen(server):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), load.database.transaction("test", timeouts=Timeouts()):
                pytest.fail("the server is not frozen")
        assert time.monotonic() - began < 0.2 + MARGIN
    async with load.running():
        await load.every_task_succeeds()
    load.check()
