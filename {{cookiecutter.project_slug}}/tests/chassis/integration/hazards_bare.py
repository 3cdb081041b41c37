"""What happens without our Manager: the known hazards on peewee-async alone.

Databases are opened and used as its documentation does it. `test_hazards_bare.py` runs this,
`test_hazards.py` has the same situations with the Manager.
"""

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import peewee
import peewee_async
import pytest
from peewee_async.databases import fetchall
from peewee_async.testing import TransactionTestCase  # lint: D7 (what it does is shown)
from playhouse.postgres_ext import BinaryJSONField

from acme_orders.chassis.database import (
    address,
    blocking,
    failures,
    lease,
    pool,
    reading,
    sessions,
    values,
)
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.errors import Conflict
from acme_orders.chassis.migrations import blockers, execution, patience
from acme_orders.chassis.migrations import session as migration_session

from tests.chassis.conftest import eventually

Database = Any
Ask = Callable[..., list[Any]]

KINDS = {
    "aiopg": peewee_async.PostgresqlDatabase,
    "psycopg": peewee_async.Psycopg3Database,
}
INSTALLED = [driver for driver in KINDS if find_spec(driver)]
DRIVERS = sorted(file.stem for file in Path(sessions.__file__).parent.glob("driver*.py"))
# For what costs much and depends little on which it is.
OFTEN_ONE = [DRIVERS[0], *(pytest.param(each, marks=pytest.mark.long) for each in DRIVERS[1:])]
TABLE = "CREATE TABLE hazard (id integer PRIMARY KEY)"
INSERT = "INSERT INTO hazard VALUES (%s)"
OTHERS = (  # sessions: autovacuum may be here as well
    "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
SLEEPING = f"""
    SELECT 1 FROM pg_stat_activity
    WHERE {OTHERS} AND state = 'active' AND query LIKE 'SELECT pg_sleep%'
"""


@dataclass(frozen=True)
class Bare:
    """One hazard.

    Args:
        number: as in the table of `test_hazards.py`.
        title: what goes wrong.
        observe: makes it happen with a database that has an empty table, and says what was seen.
        expected: what that is for each driver.
        size: connections of the pool.
    """

    number: int
    title: str
    observe: Callable[[Database, str], Awaitable[str]]
    expected: Mapping[str, str]
    size: int = 2


def on_both(expected: str) -> Mapping[str, str]:
    """The same with every driver."""
    return dict.fromkeys(KINDS, expected)


@asynccontextmanager
async def opened(
    kind: type[Database], url: str, *, size: int = 2, **options: Any
) -> AsyncIterator[Database]:
    """Open a database as the documentation does it; `options` are those of a connection."""
    place = urlsplit(url)
    limits = (
        {"minsize": 1, "maxsize": size, "timeout": 60}
        if kind is KINDS["aiopg"]
        else {"min_size": 1, "max_size": size, "timeout": 60}
    )
    database = kind(
        place.path[1:],
        host=place.hostname,
        port=place.port,
        user=place.username,
        password=place.password or "",
        pool_params=limits,
        **options,
    )
    await database.aio_connect()
    try:
        yield database
    finally:
        await database.aio_close()


@contextmanager
def watching(url: str) -> Iterator[Ask]:
    """A session beside the pool: ask it SQL."""
    with closing(open_blocking(url)) as session:

        def ask(sql: str, *parameters: Any) -> list[Any]:
            with session.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return list(cursor.fetchall()) if cursor.description else []

        yield ask


class Proxy:
    """A network before PostgreSQL that can be slow: both events are set until a test clears them.

    Attributes:
        connecting: cleared, new connections wait.
        flowing: cleared, nothing arrives any more, and nobody is told.
    """

    def __init__(self, url: str) -> None:
        self._server_at = urlsplit(url)
        self._served: set[asyncio.Task[Any] | None] = set()
        self.connecting, self.flowing = asyncio.Event(), asyncio.Event()
        self.connecting.set()
        self.flowing.set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connecting.set()
        self.flowing.set()
        self._listener.close()
        await asyncio.gather(*filter(None, self._served))

    @property
    def url(self) -> str:
        """Of the same database, by way of here."""
        user, _, _ = self._server_at.netloc.rpartition("@")
        port = self._listener.sockets[0].getsockname()[1]
        return self._server_at._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(asyncio.current_task())
        await self.connecting.wait()
        host, port = self._server_at.hostname, self._server_at.port
        from_server, to_server = await asyncio.open_connection(host, port)
        await asyncio.gather(self._pass(reader, to_server), self._pass(from_server, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


def driver_of(name: str) -> Any:
    """One of the modules that there are for drivers."""
    return importlib.import_module(f"{sessions.__package__}.{name}")


def use_driver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let our Manager and Migrator run on another driver than the one that was chosen."""
    users = (address, blocking, failures, lease, migration_session, pool, sessions)
    migrating = (blockers, execution, patience)
    for module in (*users, *migrating, reading, values):
        monkeypatch.setattr(module, "driver", driver_of(name))


def name_of(error: BaseException) -> str:
    """The package and the class of an error."""
    kind = type(error)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}".removeprefix("builtins.")


async def outcome(work: Awaitable[Any]) -> str:
    """How it ended: `no error`, or which one."""
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:
        return name_of(error)
    return "no error"


def hazard_model(database: Database) -> type[peewee_async.AioModel]:
    """The model of the table."""

    class Hazard(peewee_async.AioModel):
        class Meta:
            table_name = "hazard"

    Hazard.bind(database)
    return Hazard


async def rows(database: Database, sql: str, *parameters: Any) -> list[Any]:
    """What a query finds."""
    return list(await database.aio_execute_sql(sql, parameters, fetch_results=fetchall))


async def value(database: Database, sql: str) -> Any:
    """The first column of the first row."""
    return (await rows(database, sql))[0][0]


async def insert(database: Database, number: int) -> None:
    """Write a row."""
    await database.aio_execute_sql(INSERT, (number,))


@asynccontextmanager
async def held(database: Database) -> AsyncIterator[None]:
    """Another task has a connection meanwhile."""
    has, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.aio_connection():
            has.set()
            await release.wait()

    task = asyncio.create_task(hold())
    await has.wait()
    try:
        yield
    finally:
        release.set()
        await task


async def _statement_timeout(database: Database, url: str) -> str:
    async def unit() -> None:
        async with database.aio_connection():
            await database.aio_execute_sql("SET statement_timeout = 100")
            await database.aio_execute_sql("SELECT pg_sleep(5)")

    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(unit())
    except ExceptionGroup as failed:
        return f"TaskGroup: {name_of(failed.exceptions[0])}"
    return f"TaskGroup: no error; cancelled: {task.cancelled()}, cancelling(): {task.cancelling()}"


async def _cancelled_in_transaction(database: Database, url: str) -> str:
    async def unit(time_out: asyncio.Timeout) -> None:
        async with time_out, database.aio_atomic():
            await database.aio_execute_sql("SELECT pg_sleep(30)")

    async def interrupted(by: Callable[[asyncio.Timeout, asyncio.Task[None]], object]) -> str:
        # A server that has not yet begun with the query does not hear that it is cancelled.
        with watching(url) as ask:
            before = len(ask(SLEEPING))
            time_out = asyncio.timeout(None)
            task = asyncio.create_task(unit(time_out))
            await eventually(lambda: len(ask(SLEEPING)) > before)
            by(time_out, task)
            return await outcome(task)

    timed_out = await interrupted(
        lambda time_out, _: time_out.reschedule(asyncio.get_running_loop().time())
    )
    cancelled = await interrupted(lambda _, task: task.cancel())
    return f"timeout: {timed_out}; cancel(): {cancelled}"


async def _query_goes_on(database: Database, url: str) -> str:
    async def unit() -> None:
        async with database.aio_atomic():
            await insert(database, 1)
            await database.aio_execute_sql("SELECT pg_sleep(30)")

    with watching(url) as ask:
        task = asyncio.create_task(unit())
        await eventually(lambda: ask(SLEEPING))
        task.cancel()
        await outcome(task)
        locks = ask("SELECT 1 FROM pg_locks WHERE relation = 'hazard'::regclass")
        return f"running: {bool(ask(SLEEPING))}, locks: {len(locks)}"


async def _child_task(database: Database, url: str) -> str:
    go = asyncio.Event()
    used: set[int] = set()

    async def child() -> None:
        await go.wait()
        used.add(await value(database, "SELECT pg_backend_pid()"))
        await insert(database, 1)

    async def somebody_else() -> None:
        async with database.aio_atomic():
            used.add(await value(database, "SELECT pg_backend_pid()"))
            go.set()
            await orphan
            raise ZeroDivisionError

    async with database.aio_connection():
        orphan = asyncio.create_task(child())
    await outcome(asyncio.create_task(somebody_else()))
    kept = await value(database, "SELECT count(*) FROM hazard")
    return f"child: {await outcome(orphan)}, connections: {len(used)}, rows kept: {kept}"


async def _gather(database: Database, url: str) -> str:
    async with database.aio_atomic():
        writes = (insert(database, number) for number in range(3))
        ends = await asyncio.gather(*map(outcome, writes))
    committed = await value(database, "SELECT count(*) FROM hazard")
    return f"{', '.join(sorted(ends))}; committed: {committed} of 3"


async def _swallowed_error(database: Database, url: str) -> str:
    async def unit() -> None:
        async with database.aio_atomic():
            await insert(database, 1)
            with suppress(peewee.IntegrityError):
                await insert(database, 1)

    async def tag(_database: Database, cursor: Any) -> Any:
        return getattr(cursor, "raw", cursor).statusmessage

    ended = await outcome(unit())
    kept = await value(database, "SELECT count(*) FROM hazard")
    async with database.aio_connection():
        await database.aio_execute_sql("BEGIN")
        await outcome(value(database, "SELECT nothing"))
        answer = await database.aio_execute_sql("COMMIT", fetch_results=tag)
    return f"{ended}, rows: {kept}; COMMIT is answered with {answer}"


async def _commit_fails(database: Database, url: str) -> str:
    async def unit(ask: Ask) -> None:
        async with database.aio_atomic():
            await database.aio_execute_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            await value(database, "SELECT count(*) FROM hazard")
            ask("BEGIN ISOLATION LEVEL SERIALIZABLE")
            ask("SELECT count(*) FROM hazard")
            ask(INSERT, 1)
            await insert(database, 2)
            ask("COMMIT")

    with watching(url) as ask:
        return await outcome(unit(ask))


async def _two_databases(database: Database, url: str) -> str:
    async with opened(type(database), os.environ["DATABASE_URL"]) as second:
        own = await value(second, "SELECT current_database()")
        async with database.aio_connection():
            used = await value(second, "SELECT current_database()")
    return "runs on " + {own: "the second", urlsplit(url).path[1:]: "the first"}[used]


async def _exhausted_pool(database: Database, url: str) -> str:
    async with held(database):
        pool, aiopg = database.pool_backend.pool, isinstance(database, KINDS["aiopg"])
        setattr(pool, "_timeout" if aiopg else "timeout", 0.3)  # to connect may take longer
        return await outcome(value(database, "SELECT 1"))


async def _slow_connect(database: Database, url: str) -> str:
    async with Proxy(url) as proxy, opened(type(database), proxy.url) as slow:
        async with held(slow):
            proxy.connecting.clear()
            waiting = [asyncio.create_task(value(slow, "SELECT 1")) for _ in range(2)]
            await asyncio.sleep(0)  # now both of them wait
        # Where the release wakes nobody, a second shows it; where it does, that may take longer.
        wakes = not isinstance(database, KINDS["aiopg"])
        served, _ = await asyncio.wait(waiting, timeout=50 if wakes else 1)
        proxy.connecting.set()
        await asyncio.gather(*waiting)
    return f"served after the release: {len(served)} of 2"


async def _killed_backends(database: Database, url: str) -> str:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(held(database))
    with watching(url) as ask:
        ask("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE " + OTHERS)
        queries = (value(database, "SELECT 1") for _ in range(3))
        ends = await asyncio.gather(*map(outcome, queries))
    return f"{', '.join(ends)}; then {await outcome(value(database, 'SELECT 1'))}"


async def _session_state(database: Database, url: str) -> str:
    async with database.aio_connection():
        await database.aio_execute_sql("SET work_mem = '1234kB'")
        await database.aio_execute_sql("SELECT pg_advisory_lock(1)")
        await database.aio_execute_sql("LISTEN hazard")
    async with database.aio_connection():
        left = {
            "SET": "SELECT 1 FROM pg_settings WHERE name = 'work_mem' AND setting = '1234'",
            "advisory lock": "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'",
            "LISTEN": "SELECT pg_listening_channels()",
        }
        return ", ".join([state for state in left if await rows(database, left[state])])


async def _percent_sign(database: Database, url: str) -> str:
    return await outcome(value(database, "SELECT 'a' LIKE '%'"))


async def _error_of_ours(database: Database, url: str) -> str:
    async def fail(_database: Database, _cursor: Any) -> None:
        raise Conflict

    return await outcome(database.aio_execute_sql("SELECT 1", fetch_results=fail))


async def _cancelled_wait(database: Database, url: str) -> str:
    async with held(database):
        waiting = [asyncio.create_task(value(database, "SELECT 1")) for _ in range(20)]
        await asyncio.sleep(0)  # now all of them wait
        for task in waiting:
            task.cancel()
        ends = {await outcome(task) for task in waiting}
    used = int(database.pool_backend.has_acquired_connections())
    return f"{', '.join(ends)}; used: {used}; then {await outcome(value(database, 'SELECT 1'))}"


async def _no_streaming(database: Database, url: str) -> str:
    await database.aio_execute_sql("INSERT INTO hazard SELECT generate_series(1, 5000)")
    query = hazard_model(database).select()
    found = await query.aio_execute()
    kind = f"{type(found).__name__} of {len(found)}"

    async def iterate() -> None:
        next(iter(query.iterator()))

    return (
        f"{kind}; async for: {hasattr(query, '__aiter__')}; iterator(): {await outcome(iterate())}"
    )


async def _json_field(database: Database, url: str) -> str:
    class Document(peewee_async.AioModel):
        data = BinaryJSONField()

    Document.bind(database)
    await Document.aio_create_table()
    gin = await rows(database, "SELECT 1 FROM pg_indexes WHERE indexdef ~ 'document USING gin'")
    equal = Document.select().where(Document.data["x"] == 1)
    return f"GIN indexes: {len(gin)}; ==: {await outcome(equal.aio_execute())}"


async def _field_types(database: Database, url: str) -> str:
    class Event(peewee_async.AioModel):
        at = peewee.DateTimeField()

    Event.bind(database)
    await Event.aio_create_table()
    columns = await rows(
        database,
        "SELECT column_name || ' ' || data_type || coalesce(' ' || column_default, '') "
        "FROM information_schema.columns WHERE table_name = 'event' ORDER BY ordinal_position",
    )
    return "; ".join(column for (column,) in columns)


async def _missing_api(database: Database, url: str) -> str:
    async def related() -> None:
        hazard_model(database)().aio_m2m("tags")

    bulk = hasattr(peewee_async.AioModel, "aio_bulk_create")
    return f"aio_m2m: {await outcome(related())}; aio_bulk_create: {bulk}"


async def _test_case(database: Database, url: str) -> str:
    async def unit() -> None:
        async with database.aio_atomic():
            await insert(database, 1)

    async with TransactionTestCase(database):
        return await outcome(unit())


async def _isolation(database: Database, url: str) -> str:
    async def unit() -> None:
        async with database.aio_atomic(isolation="SERIALIZABLE"):
            await insert(database, 1)

    return await outcome(unit())


async def _listen(database: Database, url: str) -> str:
    async def listen(connection: Any, *, within: float) -> None:
        async with asyncio.timeout(within):
            if isinstance(database, KINDS["aiopg"]):
                await connection.notifies.get()
            else:
                await anext(connection.notifies())

    ends = []
    async with Proxy(url) as proxy, opened(type(database), proxy.url) as remote:
        with watching(url) as ask:
            async with remote.aio_connection() as connection:
                await remote.aio_execute_sql("LISTEN hazard")
                proxy.flowing.clear()
                ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + OTHERS)
                ends.append(await outcome(listen(connection, within=0.5)))
                proxy.flowing.set()
                ends.append(await outcome(listen(connection, within=60)))
    return f"silent network: {ends[0]}; closed connection: {ends[1]}"


async def _hstore(database: Database, url: str) -> str:
    asked = []
    with watching(url) as ask:
        for register in (False, True):
            options = {"register_hstore": True} if register else {}
            async with opened(type(database), url, **options) as fresh, fresh.aio_connection():
                newest = f"WHERE {OTHERS} ORDER BY backend_start DESC LIMIT 1"
                [(query,)] = ask(f"SELECT query FROM pg_stat_activity {newest}")
                asked.append("hstore" in query)
    return f"by default: {asked[0]}, with register_hstore: {asked[1]}"


async def _on_conflict(database: Database, url: str) -> str:
    insert_once = hazard_model(database).insert(id=7).on_conflict_ignore()
    return f"new: {await insert_once.aio_execute()}, duplicate: {await insert_once.aio_execute()}"


async def _options(database: Database, url: str) -> str:
    try:
        async with opened(type(database), url, options="-c work_mem=1234kB") as configured:
            return f"work_mem is {await value(configured, 'SHOW work_mem')}"
    except TypeError as error:
        return name_of(error)


BARE = (
    Bare(
        1,
        "a statement timeout cancels the task",
        _statement_timeout,
        {
            "aiopg": "TaskGroup: no error; cancelled: True, cancelling(): 0",
            "psycopg": "TaskGroup: peewee.OperationalError",
        },
    ),
    Bare(
        2,
        "a time-out inside a transaction becomes another error",
        _cancelled_in_transaction,
        {
            "aiopg": "timeout: psycopg2.InterfaceError; cancel(): psycopg2.InterfaceError",
            "psycopg": "timeout: TimeoutError; cancel(): asyncio.CancelledError",
        },
    ),
    Bare(
        3,
        "a cancelled query goes on and keeps its locks",
        _query_goes_on,
        {"aiopg": "running: True, locks: 1", "psycopg": "running: False, locks: 0"},
    ),
    Bare(
        4,
        "a child task writes into a transaction of somebody else",
        _child_task,
        on_both("child: no error, connections: 1, rows kept: 0"),
        size=1,
    ),
    Bare(
        5,
        "gather inside a transaction commits a part",
        _gather,
        {
            "aiopg": "RuntimeError, RuntimeError, no error; committed: 1 of 3",
            "psycopg": "no error, no error, no error; committed: 3 of 3",
        },
    ),
    Bare(
        6,
        "COMMIT after a swallowed error is a silent ROLLBACK",
        _swallowed_error,
        on_both("no error, rows: 0; COMMIT is answered with ROLLBACK"),
    ),
    Bare(
        7,
        "a failure of COMMIT is no error of peewee",
        _commit_fails,
        {"aiopg": "psycopg2.SerializationFailure", "psycopg": "psycopg.SerializationFailure"},
    ),
    Bare(
        8,
        "inside a connection of one database, the query of a second one",
        _two_databases,
        on_both("runs on the first"),
    ),
    Bare(
        9,
        "an exhausted pool looks like any other failure",
        _exhausted_pool,
        {"aiopg": "TimeoutError", "psycopg": "peewee.OperationalError"},
        size=1,
    ),
    Bare(
        10,
        "a slow connect holds up those whom a release should wake",
        _slow_connect,
        {
            "aiopg": "served after the release: 0 of 2",
            "psycopg": "served after the release: 2 of 2",
        },
    ),
    Bare(
        11,
        "each dead connection of the pool fails once",
        _killed_backends,
        on_both(f"{', '.join(['peewee.OperationalError'] * 3)}; then no error"),
        size=3,
    ),
    Bare(
        12,
        "the state of a session reaches the next borrower",
        _session_state,
        on_both("SET, advisory lock, LISTEN"),
        size=1,
    ),
    Bare(
        13,
        "a percent sign fails without parameters",
        _percent_sign,
        {"aiopg": "IndexError", "psycopg": "peewee.ProgrammingError"},
    ),
    Bare(
        14,
        "an error of ours is replaced for the name of its base",
        _error_of_ours,
        on_both("peewee.DatabaseError"),
    ),
    Bare(
        15,
        "a cancelled wait for a connection loses none (any more)",
        _cancelled_wait,
        on_both("asyncio.CancelledError; used: 0; then no error"),
        size=1,
    ),
    Bare(
        16,
        "a result is in memory as a whole",
        _no_streaming,
        on_both("list of 5000; async for: False; iterator(): AssertionError"),
    ),
    Bare(
        17,
        "BinaryJSONField makes an index and compares text",
        _json_field,
        on_both("GIN indexes: 1; ==: peewee.ProgrammingError"),
    ),
    Bare(
        18,
        "fields have narrow types",
        _field_types,
        on_both(
            "id integer nextval('event_id_seq'::regclass); at timestamp without time zone",
        ),
    ),
    Bare(
        19,
        "API is missing",
        _missing_api,
        on_both("aio_m2m: NotImplementedError; aio_bulk_create: False"),
    ),
    Bare(
        20,
        "TransactionTestCase forbids transactions",
        _test_case,
        on_both("ValueError"),
    ),
    Bare(
        21,
        "a transaction takes no isolation level",
        _isolation,
        on_both("TypeError"),
    ),
    Bare(
        22,
        "LISTEN does not notice a lost connection",
        _listen,
        {
            "aiopg": "silent network: TimeoutError; closed connection: psycopg2.OperationalError",
            "psycopg": "silent network: TimeoutError; closed connection: psycopg.OperationalError",
        },
    ),
    Bare(
        23,
        "hstore costs a catalog query for each connection",
        _hstore,
        {
            "aiopg": "by default: False, with register_hstore: True",
            "psycopg": "by default: False, with register_hstore: False",
        },
    ),
    Bare(
        24,
        "on_conflict_ignore answers with an id or None",
        _on_conflict,
        on_both("new: 7, duplicate: None"),
    ),
    Bare(
        25,
        "settings of a session depend on the driver",
        _options,
        {"aiopg": "work_mem is 1234kB", "psycopg": "TypeError"},
    ),
)
