"""Whatever tasks do to each other, connections come back clean and rows tell the truth.

Programs are made up from a seed: tasks that share a small pool, with transactions and all that can
go wrong in them. `INTERLEAVINGS=10000 INTERLEAVINGS_SEED=7` runs more and other ones.
"""

import asyncio
import itertools
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from acme_orders.chassis.database import pool, sessions, statements
from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.database.settings import DatabaseSettings, Timeouts
from acme_orders.chassis.errors import CommitUnknown, DatabaseError
from acme_orders.chassis.observability.metrics import Metrics

from tests.chassis.conftest import eventually, impatient
from tests.chassis.integration.hazards_bare import OFTEN_ONE, Ask, use_driver, watching
from tests.chassis.integration.test_hazards import Hazard, prepared

PROGRAMS = int(os.environ.get("INTERLEAVINGS", "600"))
SEED = int(os.environ.get("INTERLEAVINGS_SEED", "1"))
BATCH = 25  # programs between two looks at the server
APPLICATION = "interleavings"
LOCKED = (-1, -2)  # rows that two units of work lock in opposite order
TAKEN = 0  # a row that is there already
SLEEP = 0.025  # seconds; longer than a short statement timeout, shorter than the usual one
HOLD = 0.04  # seconds; longer than others wait for a connection
ACQUIRE = 0.03  # seconds that programs wait for a connection
LOCK = 0.02  # seconds that they wait for a row
SESSION = (
    "SET work_mem = '1234kB'",
    "SELECT pg_advisory_lock(1)",
    "LISTEN hazard",
    "CREATE TEMPORARY TABLE left_over (id integer)",
    "DECLARE left_open CURSOR WITH HOLD FOR SELECT 1",
    "PREPARE left_prepared AS SELECT 1",
)
STATE = """
    SELECT 'user', current_user::text UNION ALL
    SELECT name, setting FROM pg_settings WHERE source = 'session' UNION ALL
    SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
    UNION ALL SELECT 'channel', pg_listening_channels() UNION ALL
    SELECT 'table', relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() UNION ALL
    SELECT 'cursor', name FROM pg_cursors UNION ALL
    SELECT 'prepared', name FROM pg_prepared_statements ORDER BY 1, 2
"""
# Other programs may run on other databases of this server, and are neither waited for nor killed.
OURS = f"""
    FROM pg_stat_activity
    WHERE application_name = '{APPLICATION}' AND datname = current_database()
"""
BUSY = f"SELECT pid, state, query {OURS} AND state <> 'idle'"
KILL = f"SELECT pg_terminate_backend(pid) {OURS} ORDER BY pid OFFSET %s LIMIT 1"

# How often what is done, outside and inside a transaction.
OUTSIDE = {
    "transaction": 12,
    "conflict": 5,
    "connection": 3,
    "swallow": 3,
    "time_limit": 1,
    "child": 1,
    "hold": 0.7,
    "begin": 1,
    "abandon": 1,
    "write": 0.5,
    "savepoint": 0.5,
    "session": 0.5,
}
INSIDE = {
    "write": 8,
    "later": 3,
    "savepoint": 6,
    "swallow": 4,
    "time_limit": 4,
    "pause": 4,
    "sleep": 1.5,
    "violation": 1,
    "error": 1,
    "session": 1,
    "stream": 1,
    "child": 1,
    "connection": 0.5,
    "transaction": 0.5,
    "conflict": 0.3,
}
BLOCKS = ("transaction", "connection", "swallow", "time_limit", "child", "savepoint")
DEEPEST = 6

# What has to come up in so many programs; otherwise they do not try what they should.
ENDS = {
    600: {
        "committed",
        "rolled back",
        "unknown",
        "Meant",
        "CancelledError",
        "ConstraintViolated",
        "DatabaseUnavailable",
        "StatementTimeout",
        "TimeoutError",
        "TransactionMisused",
        "WriteOutsideTransaction",
    },
    10_000: {"run again", "CommitUnknown", "Conflict", "PoolExhausted", "TransactionAborted"},
}


class Meant(Exception):
    """An error that a program raises on purpose, or the end of a time limit of its own."""


@dataclass(frozen=True)
class Step:
    """One thing that a task does; see the method of `Player` that has its name."""

    kind: str
    options: tuple[Any, ...] = ()
    inner: tuple["Step", ...] = ()

    def __str__(self) -> str:
        inner = f"[{'; '.join(map(str, self.inner))}]" if self.inner else ""
        return f"{self.kind}({', '.join(map(str, self.options))}){inner}"


@dataclass(frozen=True)
class Blow:
    """Something from outside, so many turns of the loop and so many seconds after the last one."""

    kind: str
    which: int
    turns: int
    seconds: float


@dataclass(frozen=True)
class Program:
    """Tasks that run at the same time, and what hits them."""

    number: int
    tasks: tuple[tuple[Step, ...], ...]
    blows: tuple[Blow, ...]

    def __str__(self) -> str:
        tasks = "".join(f"\n    {'; '.join(map(str, task))}" for task in self.tasks)
        blows = "".join(f"\n    {blow}" for blow in self.blows)
        return f"program {self.number} (INTERLEAVINGS_SEED={SEED}):{tasks}{blows}"


def driver() -> Any:
    """The driver that managers run on in this test."""
    return vars(sessions)["driver"]


def program(number: int) -> Program:
    """The program with this number, always the same for a seed."""
    random = Random(f"{SEED}:{number}")
    tasks = tuple(_steps(random, OUTSIDE, 0) for _ in range(random.randint(2, 4)))
    blows = []
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        kind = random.choices(("cancel", "kill"), (9, 1))[0]
        seconds = random.choice((0, random.uniform(0, 0.01)))
        blows.append(Blow(kind, random.randrange(len(tasks)), random.randint(0, 12), seconds))
    return Program(number, tasks, tuple(blows))


def _steps(random: Random, kinds: dict[str, float], depth: int) -> tuple[Step, ...]:
    if depth == DEEPEST:
        kinds = {kind: weight for kind, weight in kinds.items() if kind not in BLOCKS}
    most = 4 - depth if depth < 2 else 2
    found = random.choices(list(kinds), list(kinds.values()), k=random.randint(1, most))
    return tuple(_step(random, kind, kinds, depth) for kind in found)


def _step(random: Random, kind: str, kinds: dict[str, float], depth: int) -> Step:
    options: tuple[Any, ...] = ()
    if kind == "transaction":
        kinds = INSIDE
        isolation = random.choice(("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"))
        statement = random.choice((5, 5, random.uniform(0.005, 0.02)))
        options = (isolation, random.random() < 0.1, round(statement, 4))
    elif kind in {"time_limit", "pause"}:
        options = (round(random.uniform(0, 0.015), 4), random.random() < 0.5)
    elif kind == "session":
        options = (random.choice(SESSION),)
    elif kind == "conflict":
        options = (random.sample(LOCKED, 2), random.randint(0, 2))
    inner = _steps(random, kinds, depth + 1) if kind in BLOCKS else ()
    return Step(kind, options, inner)


@dataclass
class Rows:
    """What was written: for certain, and by statements that were interrupted."""

    sure: set[int] = field(default_factory=set)
    maybe: set[int] = field(default_factory=set)

    def include(self, other: "Rows") -> None:
        """Take over what a savepoint kept."""
        self.sure |= other.sure
        self.maybe |= other.maybe


@dataclass
class Unit:
    """A transaction: its rows, and how it ended; `complete` says that COMMIT was the next step."""

    program: int
    rows: Rows = field(default_factory=Rows)
    complete: bool = False
    end: str = "rolled back"

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Find out how it ends."""
        try:
            yield
        except (asyncio.CancelledError, CommitUnknown):
            if self.complete:
                self.end = "unknown"
            raise
        self.end = "committed"


async def abandon(database: Manager) -> None:
    """Leave a stream with its transaction in the middle, and wait until the loop has closed it."""
    closed = asyncio.Event()

    async def stream() -> AsyncIterator[Any]:
        try:
            async with database.transaction("test", read_only=True):
                async for row in database.stream(Hazard.select(Hazard.id), batch=1):
                    yield row
        finally:
            closed.set()

    async for _row in stream():
        break
    await closed.wait()
    await database.ping()


class Player:
    """Plays programs on one manager, and keeps account of what each of them should have left.

    Args:
        database: that they share.
        metrics: of this manager.
        ask: a session beside it.
        ends: how tasks and transactions ended, to be counted here.
        pace: how many times as long everything lasts that a program does for a while.
    """

    def __init__(
        self, database: Manager, metrics: Metrics, ask: Ask, ends: Counter[str], pace: float
    ) -> None:
        self._database, self._metrics, self._ask, self._ends = database, metrics, ask, ends
        self._pace = pace
        self._pool = database._connections._pool
        self._markers = itertools.count(1)
        self._units: list[Unit] = []
        self._complaints: list[dict[str, Any]] = []
        self._number = 0

    async def play(self, played: Program) -> None:
        """Run a program to its end, and check what the client can see."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._complaints.append(context))
        self._number = played.number
        tasks = [loop.create_task(self._perform(steps, Rows())) for steps in played.tasks]
        cancelled = await self._strike(played.blows, tasks)
        _, hanging = await asyncio.wait(tasks, timeout=60)
        assert not hanging, f"{len(hanging)} tasks hang: {played}"
        for task in tasks:
            if task.cancelled():
                assert task in cancelled, f"a task is cancelled by nobody: {played}"
                self._ends["CancelledError"] += 1
            elif error := task.exception():
                if not isinstance(error, DatabaseError | Meant):
                    raise AssertionError(f"{error!r} is no error of ours: {played}") from error
                self._ends[type(error).__name__] += 1
        try:
            await eventually(lambda: not self._used(), within=60)
        except TimeoutError:
            raise AssertionError(f"{self._used()} connections in use after {played}") from None
        idle = [pooled.connection for pooled in self._pool._idle]
        assert all(each.closed or driver().is_idle(each) for each in idle), (
            f"the pool has a connection inside a transaction after {played}"
        )
        assert not self._complaints, f"{self._complaints} after {played}"

    async def settle(self, fresh: list[Any]) -> None:
        """Check what the server can see, and what is in the table.

        Args:
            fresh: the state of a session that nobody has used.
        """
        where = f"INTERLEAVINGS_SEED={SEED}, up to program {self._number}"
        try:
            await eventually(lambda: not self._ask(BUSY), within=60)
        except TimeoutError:
            raise AssertionError(f"not idle: {self._ask(BUSY)}; {where}") from None
        for pooled in list(self._pool._idle):
            lease = Lease(pooled.connection, None, 30)
            try:
                state = await lease.rows(STATE)
            except DatabaseError:
                assert lease.broken, where
            else:
                assert state == fresh, f"session state is {state}, not {fresh}; {where}"
        self._compare({marker for (marker,) in self._ask("SELECT id FROM hazard WHERE id > 0")})

    def _compare(self, found: set[int]) -> None:
        may_be: set[int] = set()
        for unit in self._units:
            self._ends[unit.end] += 1
            if unit.end == "rolled back":
                continue
            where = f"of program {unit.program}, INTERLEAVINGS_SEED={SEED}"
            missing, kept = unit.rows.sure - found, unit.rows.sure & found
            assert not missing or (unit.end == "unknown" and not kept), (
                f"a transaction {where} is {unit.end} and lacks rows {missing}, not {kept}"
            )
            may_be |= unit.rows.sure | unit.rows.maybe
        assert found <= may_be, (
            f"rows {found - may_be} were never committed; INTERLEAVINGS_SEED={SEED}, "
            f"up to program {self._number}"
        )
        self._units.clear()

    def _used(self) -> float:
        value = self._metrics.registry.get_sample_value
        used = value("db_client_connections", {"state": "used"})
        waiting = value("db_client_connections_pending_requests")
        assert used is not None
        assert waiting is not None
        return used + waiting

    async def _strike(
        self, blows: tuple[Blow, ...], tasks: list[asyncio.Task[None]]
    ) -> set[asyncio.Task[None]]:
        cancelled = set()
        for blow in blows:
            for _ in range(blow.turns):
                await asyncio.sleep(0)
            if blow.seconds:
                await asyncio.sleep(blow.seconds * self._pace)
            if blow.kind == "kill":
                self._ask(KILL, blow.which)
            elif tasks[blow.which].cancel():
                cancelled.add(tasks[blow.which])
        return cancelled

    def _unit(self) -> Unit:
        self._units.append(unit := Unit(self._number))
        return unit

    # Steps

    async def _perform(self, steps: tuple[Step, ...], rows: Rows) -> None:
        for step in steps:
            await getattr(self, f"_{step.kind}")(step, rows)

    async def _transaction(self, step: Step, _: Rows) -> None:
        isolation, read_only, statement = step.options
        unit, pace = self._unit(), self._pace
        limits = Timeouts(statement_timeout=statement * pace, lock_timeout=LOCK * pace)
        with unit.watched():
            async with self._database.transaction(
                "test", isolation=isolation, read_only=read_only, timeouts=limits
            ):
                await self._perform(step.inner, unit.rows)
                unit.complete = True

    async def _conflict(self, step: Step, _: Rows) -> None:
        (order, retries), unit = step.options, self._unit()

        @retryable
        async def work() -> None:
            if unit.rows.sure:
                self._ends["run again"] += 1
            unit.rows, unit.complete = Rows(), False
            await self._write(step, unit.rows)
            for row in order:
                await self._database.fetch_sql("UPDATE hazard SET id = id WHERE id = %s", row)
                await asyncio.sleep(0.002)
            unit.complete = True

        with unit.watched():
            await self._database.run("test", work, retries=retries, deadline=self._pace)

    async def _savepoint(self, step: Step, rows: Rows) -> None:
        kept = Rows()
        async with self._database.savepoint():
            await self._perform(step.inner, kept)
        rows.include(kept)

    async def _connection(self, step: Step, rows: Rows) -> None:
        async with self._database.connection() as lease:
            await lease.rows("SELECT 1")
            await self._perform(step.inner, rows)

    async def _hold(self, _: Step, __: Rows) -> None:
        async with self._database.connection():
            await asyncio.sleep(HOLD * self._pace)

    async def _swallow(self, step: Step, rows: Rows) -> None:
        try:
            await self._perform(step.inner, rows)
        except (DatabaseError, Meant) as error:
            self._ends[type(error).__name__] += 1

    async def _time_limit(self, step: Step, rows: Rows) -> None:
        seconds, goes_on = step.options
        try:
            async with asyncio.timeout(seconds * self._pace) as limit:
                await self._perform(step.inner, rows)
        except TimeoutError as error:
            if not limit.expired():
                raise
            self._ends["TimeoutError"] += 1
            if not goes_on:
                raise Meant from error

    async def _child(self, step: Step, _: Rows) -> None:
        await asyncio.create_task(self._perform(step.inner, Rows()))

    async def _write(self, _: Step, rows: Rows) -> None:
        marker = next(self._markers)
        try:
            await self._database.fetch_sql("INSERT INTO hazard (id) VALUES (%s)", marker)
        except asyncio.CancelledError:
            rows.maybe.add(marker)
            raise
        rows.sure.add(marker)

    async def _later(self, _: Step, rows: Rows) -> None:
        marker = next(self._markers)
        self._database.current_transaction().add(Hazard, {"id": marker}, query="later")
        rows.sure.add(marker)

    async def _sleep(self, _: Step, __: Rows) -> None:
        await self._database.fetch_sql("SELECT pg_sleep(%s)", SLEEP * self._pace)

    async def _pause(self, step: Step, _: Rows) -> None:
        await asyncio.sleep(step.options[0] * self._pace)

    async def _violation(self, _: Step, __: Rows) -> None:
        await self._database.fetch_sql("INSERT INTO hazard (id) VALUES (%s)", TAKEN)

    async def _error(self, _: Step, __: Rows) -> None:
        raise Meant

    async def _session(self, step: Step, _: Rows) -> None:
        await self._database.fetch_sql(*step.options)

    async def _stream(self, _: Step, __: Rows) -> None:
        async for _row in self._database.stream(Hazard.select(Hazard.id), batch=1):
            break

    async def _abandon(self, _: Step, __: Rows) -> None:
        await asyncio.create_task(abandon(self._database))

    async def _begin(self, _: Step, __: Rows) -> None:
        async with self._database.connection() as lease:
            await lease.send("BEGIN")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Thousands of failed statements are meant here, and nobody reads their records."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(params=OFTEN_ONE)
async def ask(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ask]:
    """A session beside the pool; the table has the rows that programs count on."""
    use_driver(request.param, monkeypatch)
    async with prepared(database_url):
        with watching(database_url) as ask:
            for row in (TAKEN, *LOCKED):
                ask("INSERT INTO hazard (id) VALUES (%s)", row)
            yield ask


async def interleave(url: str, ask: Ask, numbers: range, pace: float = 1) -> Counter[str]:
    """Play these programs; returns how their tasks and transactions ended."""
    ends: Counter[str] = Counter()
    for first in numbers[::BATCH]:
        batch = range(first, min(first + BATCH, numbers.stop))
        metrics, size = Metrics(), Random(f"{SEED}:{first}").randint(2, 3)
        settings = DatabaseSettings(
            database_url=url, pool_size=size, statement_timeout=5, lock_timeout=LOCK * pace
        )
        database = Manager(settings, metrics, application=APPLICATION)
        async with database:  # only programs have to be quick about it
            impatient(database, ACQUIRE * pace)
            fresh = await _fresh(database)
            player = Player(database, metrics, ask, ends, pace)
            for number in batch:
                await player.play(program(number))
            await player.settle(fresh)
        await eventually(lambda: not ask(f"SELECT 1 {OURS}"), within=60)
        ask("DELETE FROM hazard WHERE id > 0")
    return ends


async def _fresh(database: Manager) -> list[Any]:
    connection = await database._connections._sessions.open()
    try:
        return await Lease(connection, None, 30).rows(STATE)
    finally:
        driver().discard(connection)


async def test_an_abandoned_stream_gives_its_connection_back(ask: Ask, database_url: str) -> None:
    """Though another task closes it; and the task that left it has no connection any more."""
    metrics = Metrics()
    async with Manager(
        DatabaseSettings(database_url=database_url, pool_size=1), metrics
    ) as database:
        await abandon(database)
        assert database._connections.held() is None
        used = metrics.registry.get_sample_value("db_client_connections", {"state": "used"})
        assert used == 0


async def test_who_waits_is_told_when_the_last_connection_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in the very turn of the loop in which an attempt to open another one has failed."""
    idle = SimpleNamespace(discard=lambda _: None, is_idle=lambda _: True, DriverError=OSError)
    monkeypatch.setattr(pool, "driver", idle)
    monkeypatch.setattr(pool.Pooled, "suspect", False)
    refused = asyncio.Event()
    answers = iter((SimpleNamespace(closed=False), OSError("first"), OSError("second")))

    async def connect() -> Any:
        if isinstance(answer := next(answers), OSError):
            await refused.wait()
            raise answer
        return answer

    small = pool.Pool(connect, size=2, max_age=60, metrics=Metrics())
    last = await small.acquire()
    waiting = asyncio.create_task(small.acquire())
    await asyncio.sleep(0)  # it waits, and another connection is being opened
    await asyncio.sleep(0)
    refused.set()
    last.connection.closed = True
    asyncio.get_running_loop().call_soon(small.release, last)
    with pytest.raises(OSError, match="second"):
        await asyncio.wait_for(waiting, 5)


@pytest.mark.timeout(120 + PROGRAMS)
async def test_no_interleaving_leaves_anything_behind(ask: Ask, database_url: str) -> None:
    """No connection in use or in a transaction, no session state, no row but the committed."""
    ends = await interleave(database_url, ask, range(PROGRAMS))
    sys.stdout.write(f"{PROGRAMS} programs, seed {SEED}: {dict(ends.most_common())}\n")
    for enough, expected in ENDS.items():
        assert enough > PROGRAMS or ends.keys() >= expected, f"never: {expected - ends.keys()}"


def no_undo_after_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cancelled is left as it is."""
    undo = Lease.undo

    async def instead(lease: Lease, sql: str) -> None:
        if not isinstance(sys.exc_info()[1], asyncio.CancelledError):
            await undo(lease, sql)

    monkeypatch.setattr(Lease, "undo", instead)


def no_check_at_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool takes every connection back."""
    trusting = SimpleNamespace(**{**vars(driver()), "is_idle": lambda _: True})
    monkeypatch.setattr(pool, "driver", trusting)


def session_state_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any SQL is sent."""
    monkeypatch.setattr(statements, "refuse_session_state", lambda _, **__: None)


def any_commit_is_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what PostgreSQL answered."""

    async def instead(lease: Lease) -> None:
        await lease.send("COMMIT")

    monkeypatch.setattr(Lease, "commit", instead)


@pytest.mark.parametrize(
    ("defect", "needed", "noticed"),
    [
        (no_undo_after_cancellation, "savepoint swallow time_limit pause", "never committed"),
        (no_check_at_release, "begin", "inside a transaction"),
        (session_state_allowed, "session swallow", "session state"),
        (any_commit_is_success, "swallow violation", "committed and lacks rows"),
    ],
)
async def test_a_defect_is_noticed(
    defect: Callable[[pytest.MonkeyPatch], None],
    needed: str,
    noticed: str,
    ask: Ask,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Programs that let everything pass would prove nothing; few are enough without the rest."""
    defect(monkeypatch)
    for kinds in (OUTSIDE, INSIDE):
        for kind in kinds.keys() - {"transaction", "connection", "write", *needed.split()}:
            monkeypatch.setitem(kinds, kind, 0)
    with pytest.raises(AssertionError, match=noticed):
        for pace in (1, 4, 16):  # a busy machine does nothing within a time limit of a moment
            await interleave(database_url, ask, range(100), pace)
