"""The known hazards of the libraries, and where each is closed; with every driver that is here.

What happens without the Manager in the same situation: see `hazards_bare.py`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import peewee
import pytest

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Insertion, Repository
from acme_orders.chassis.database.settings import DatabaseSettings, Timeouts
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.errors import (
    Conflict,
    ConstraintViolated,
    DatabaseUnavailable,
    PoolExhausted,
    StatementTimeout,
    TransactionAborted,
    TransactionMisused,
)
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.scope import system_scope  # feature: row, rls, schema

from dev.lint.rules import RULES
from tests.chassis.conftest import eventually, impatient
from tests.chassis.integration.hazards_bare import (
    BARE,
    DRIVERS,
    OTHERS,
    TABLE,
    Proxy,
    use_driver,
    watching,
)

# By number: a test of this file, or the rule of dev/lint that keeps it out.
CLOSED = {
    1: "test_01_a_statement_timeout_is_an_error",
    2: "test_02_a_time_out_or_a_cancellation_inside_a_transaction_stays_one",
    3: "test_03_a_cancelled_query_ends_and_gives_its_locks_back",
    4: "test_04_a_child_task_has_a_connection_of_its_own",
    5: "test_05_gather_inside_a_transaction_is_refused",
    6: "test_06_a_swallowed_error_is_no_commit",
    7: "test_07_a_failure_of_commit_is_a_conflict",
    8: "test_08_two_databases_are_two",
    9: "test_09_an_exhausted_pool_is_an_outage_that_names_the_setting",
    10: "test_10_a_slow_connect_holds_nobody_up",
    11: "test_11_dead_connections_are_replaced_before_they_are_used",
    12: "test_12_nothing_may_change_the_session",
    13: "test_13_a_percent_sign_is_one",
    14: "test_14_an_error_of_ours_stays_ours",
    15: "test_15_a_cancelled_wait_loses_no_connection",
    16: "test_16_a_result_can_be_streamed",
    17: "D3",
    18: "D3",
    19: "D2",
    20: "D7",
    21: "test_21_a_transaction_takes_an_isolation_level",
    22: "D4",
    23: "D3",
    24: "test_24_an_insert_says_whether_there_was_a_duplicate",
    25: "test_25_a_session_is_the_same_with_each_driver",
}


class Hazard(Table):
    """The table of these tests."""

    id = peewee.IntegerField(primary_key=True)


@pytest.fixture(params=DRIVERS)
async def database(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Manager]:
    """A manager with two connections, and an empty table."""
    use_driver(request.param, monkeypatch)
    async with prepared(database_url) as opened:
        yield opened


@asynccontextmanager
async def prepared(url: str) -> AsyncIterator[Manager]:
    """The table, and a manager that may work for all tenants, where there are tenants."""
    with watching(url) as ask:
        ask(TABLE)
        ask("ALTER TABLE hazard ADD tenant_id text DEFAULT ''")  # feature: row, rls
        ask("ALTER TABLE hazard ADD UNIQUE (tenant_id, id)")  # feature: row, rls
    async with AsyncExitStack() as stack:
        stack.enter_context(system_scope("test"))  # feature: row, rls, schema
        yield await stack.enter_async_context(managing(url))


def managing(url: str, *, size: int = 2) -> Manager:
    """A manager that is not connected yet."""
    settings = DatabaseSettings(database_url=url, pool_size=size, acquire_timeout=60)
    return Manager(settings, Metrics(), application="hazards")


async def insert(database: Manager, number: int) -> None:
    """Write a row."""
    await database.fetch_sql("INSERT INTO hazard (id) VALUES (%s)", number)


async def read(database: Manager, sql: str) -> Any:
    """The first column of the first row, in a transaction of its own."""
    async with database.transaction("read", read_only=True):
        return (await database.fetch_sql(sql))[0][0]


async def rows(database: Manager) -> int:
    """How much was written."""
    return int(await read(database, "SELECT count(*) FROM hazard"))


@asynccontextmanager
async def held(database: Manager, count: int) -> AsyncIterator[None]:
    """Other tasks have this many connections meanwhile."""
    release = asyncio.Event()

    async def hold(has: asyncio.Event) -> None:
        async with database.connection():
            has.set()
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            has = asyncio.Event()
            group.create_task(hold(has))
            await has.wait()
        try:
            yield
        finally:
            release.set()


def test_every_hazard_is_closed() -> None:
    """By a test that is here, or by a rule that there is."""
    known = {*globals(), *(rule.code for rule in RULES)}
    assert list(CLOSED) == [hazard.number for hazard in BARE] == list(range(1, 26))
    assert set(CLOSED.values()) <= known


async def test_01_a_statement_timeout_is_an_error(database: Manager) -> None:
    """A TaskGroup does not end as if all were well, and the connection is still of use."""
    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.TaskGroup() as group:
            group.create_task(_sleep(database, Timeouts(statement_timeout=0.1)))
    assert failed.group_contains(StatementTimeout)
    assert await rows(database) == 0


@pytest.mark.parametrize("delay", [0, 0.002, 0.01, 0.05])
async def test_02_a_time_out_or_a_cancellation_inside_a_transaction_stays_one(
    database: Manager, delay: float
) -> None:
    """Whenever it comes; and no connection is lost."""
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(delay):
                await _sleep(database)
        task = asyncio.create_task(_sleep(database))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert list(await asyncio.gather(rows(database), rows(database))) == [0, 0]


async def test_03_a_cancelled_query_ends_and_gives_its_locks_back(
    database: Manager, database_url: str
) -> None:
    """PostgreSQL notices within seconds that nobody waits for it."""
    with watching(database_url) as ask:

        def locks() -> int:
            return len(ask("SELECT 1 FROM pg_locks WHERE relation = 'hazard'::regclass"))

        task = asyncio.create_task(_sleep(database))
        await eventually(locks)
        task.cancel()
        await eventually(lambda: not locks(), within=20)


async def test_04_a_child_task_has_a_connection_of_its_own(database: Manager) -> None:
    """The one of its parent may serve somebody else by now."""
    go = asyncio.Event()

    async def child() -> Any:
        await go.wait()
        return await read(database, "SELECT pg_backend_pid()")

    async with database.connection():
        orphan = asyncio.create_task(child())
    async with database.transaction("somebody else"):
        own = await database.fetch_sql("SELECT pg_backend_pid()")
        go.set()
        assert [(await orphan,)] != own


async def test_05_gather_inside_a_transaction_is_refused(database: Manager) -> None:
    """No part is committed without the others."""
    async with database.transaction("test"):
        writes = (insert(database, number) for number in range(3))
        ends = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(end) for end in ends} == {TransactionMisused}
    assert await rows(database) == 0


async def test_06_a_swallowed_error_is_no_commit(database: Manager) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK; nobody may take that for success."""
    with pytest.raises(TransactionAborted):
        async with database.transaction("test"):
            await insert(database, 1)
            with pytest.raises(ConstraintViolated):
                await insert(database, 1)
    assert await rows(database) == 0


async def test_07_a_failure_of_commit_is_a_conflict(database: Manager, database_url: str) -> None:
    """So the unit of work can be run again."""
    with watching(database_url) as ask, pytest.raises(Conflict) as conflict:
        async with database.transaction("test", isolation="SERIALIZABLE"):
            await database.fetch_sql("SELECT count(*) FROM hazard")
            ask("BEGIN ISOLATION LEVEL SERIALIZABLE")
            ask("SELECT count(*) FROM hazard")
            ask("INSERT INTO hazard (id) VALUES (1)")
            await insert(database, 2)
            ask("COMMIT")
    assert conflict.value.sqlstate == "40001"


async def test_08_two_databases_are_two(database: Manager, database_url: str) -> None:
    """A connection to one serves no query of the other."""
    async with managing(os.environ["DATABASE_URL"]) as second, database.connection():
        ask = "SELECT current_database()"
        async with second.connection() as lease:
            ((used,),) = await lease.rows(ask)
        assert used != await read(database, ask)


async def test_09_an_exhausted_pool_is_an_outage_that_names_the_setting(
    database: Manager, database_url: str
) -> None:
    """It is no TimeoutError, which asyncio.timeout might have raised."""
    async with managing(database_url, size=1) as small:
        async with held(small, 1):
            impatient(small, 0.3)
            with pytest.raises(PoolExhausted, match=r"_TIMEOUT\): all 1 \(POOL_SIZE\) are in"):
                await rows(small)
        assert await rows(small) == 0
    async with (
        Proxy(database_url) as proxy,
        managing(proxy.url) as slow,
        held(slow, 1),
    ):
        proxy.connecting.clear()
        impatient(slow, 0.3)
        with pytest.raises(PoolExhausted, match=r"\(ACQUIRE_TIMEOUT\): PostgreSQL does not"):
            await rows(slow)


async def test_10_a_slow_connect_holds_nobody_up(database: Manager, database_url: str) -> None:
    """Who waits gets the first connection that is free, the new one or another."""
    async with Proxy(database_url) as proxy, managing(proxy.url) as slow:
        async with held(slow, 1):
            proxy.connecting.clear()
            waiting = [asyncio.create_task(rows(slow)) for _ in range(2)]
            await asyncio.sleep(0)  # now both of them wait
        assert list(await asyncio.gather(*waiting)) == [0, 0]


async def test_11_dead_connections_are_replaced_before_they_are_used(
    database: Manager, database_url: str
) -> None:
    """Nobody sees that the server had been restarted."""
    async with held(database, 2):
        pass
    with watching(database_url) as ask:
        ask("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE " + OTHERS)
    assert list(await asyncio.gather(rows(database), rows(database))) == [0, 0]


async def test_11_a_connection_that_dies_inside_a_transaction_is_an_outage(
    database: Manager, database_url: str
) -> None:
    """The error is not hidden by that of the rollback."""
    with watching(database_url) as ask, pytest.raises(DatabaseUnavailable):
        async with database.transaction("test"):
            await insert(database, 1)
            ask("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE " + OTHERS)
            await insert(database, 2)
    assert await rows(database) == 0


@pytest.mark.parametrize(
    "sql",
    ["/**/SET work_mem = '1234kB'", 'SELECT "pg_advisory_lock"(1)', "LISTEN hazard"],
)
async def test_12_nothing_may_change_the_session(database: Manager, sql: str) -> None:
    """It is refused before it is sent: whoever gets the connection next would find it."""
    with pytest.raises(TransactionMisused, match="outlives the transaction"):
        async with database.transaction("test"):
            await database.fetch_sql(sql)


async def test_12_a_query_of_peewee_is_looked_at_as_well(database: Manager) -> None:
    """Its functions and its pieces of SQL are sent like SQL by hand; the rest runs."""
    lock = Hazard.select(peewee.fn.pg_try_advisory_lock(1))
    reset = Hazard.select(peewee.SQL("1; RESET ALL; SELECT 1"))
    name = Hazard.select(peewee.fn.set_config("a.b", "x", False))
    writes = Hazard.update(id=peewee.fn.pg_advisory_lock(1).cast("integer"))
    async with database.transaction("test"):
        for query in (lock, reset, name, Hazard.raw("SET work_mem = '1234kB'")):
            with pytest.raises(TransactionMisused, match="outlives the transaction"):
                await database.fetch(query)
        with pytest.raises(TransactionMisused, match="outlives the transaction"):
            await database.execute(writes)
        with pytest.raises(TransactionMisused, match="outlives the transaction"):
            [row async for row in database.stream(lock)]
        await insert(database, 1)
        assert [row async for row in database.stream(Hazard.select(Hazard.id).dicts())]
    assert await rows(database) == 1


async def test_12_what_a_transaction_sets_ends_with_it(database: Manager) -> None:
    """Its own time limits, too."""
    async with database.connection() as lease:
        before = await lease.rows("SHOW statement_timeout")
        async with database.transaction("test", timeouts=Timeouts(statement_timeout=7)):
            assert await database.fetch_sql("SHOW statement_timeout") == [("7s",)]
        assert await lease.rows("SHOW statement_timeout") == before != [("7s",)]


async def test_13_a_percent_sign_is_one(database: Manager) -> None:
    """Without parameters it has not to be doubled."""
    assert await read(database, "SELECT 'a' LIKE '%'") is True


async def test_14_an_error_of_ours_stays_ours(database: Manager) -> None:
    """Also that of a Peewee query, though its base has a name that Peewee looks for."""
    with pytest.raises(ConstraintViolated) as violated:
        async with database.transaction("test"):
            await database.execute(Hazard.insert_many([{"id": 1}, {"id": 1}]))
    assert violated.value.constraint == "hazard_pkey"


async def test_15_a_cancelled_wait_loses_no_connection(
    database: Manager, database_url: str
) -> None:
    """Neither while one is awaited nor in the very moment in which it is handed over."""
    async with managing(database_url, size=1) as small:
        async with small.connection():
            first, *others = (asyncio.create_task(rows(small)) for _ in range(20))
            await asyncio.sleep(0)  # now all of them wait
            for task in others:
                task.cancel()
        first.cancel()  # it has the connection since the line before, and was not yet told
        await asyncio.wait([first, *others])
        assert all(task.cancelled() for task in (first, *others))
        assert await rows(small) == 0


async def test_16_a_result_can_be_streamed(database: Manager, database_url: str) -> None:
    """Never more than one batch is in memory."""
    sent: list[str] = []
    database.observe(lambda statement: sent.append(statement.sql))
    with watching(database_url) as ask:
        ask("INSERT INTO hazard (id) SELECT generate_series(1, 5000)")
    async with database.transaction("test", read_only=True):
        stream = database.stream(Hazard.select(Hazard.id).order_by(Hazard.id), batch=1000)
        assert (await anext(stream)).id == 1
        assert len(sent) == 2  # DECLARE, and the first FETCH
        assert [row.id async for row in stream] == list(range(2, 5001))
        assert len(sent) > 5


async def test_21_a_transaction_takes_an_isolation_level(database: Manager) -> None:
    """And may be read-only."""
    async with database.transaction("test", isolation="SERIALIZABLE", read_only=True):
        assert await database.fetch_sql("SHOW transaction_isolation") == [("serializable",)]
        assert await database.fetch_sql("SHOW transaction_read_only") == [("on",)]


async def test_24_an_insert_says_whether_there_was_a_duplicate(database: Manager) -> None:
    """It is no id that may be None."""
    repository = Repository(database)
    async with database.transaction("test"):
        ends = [await repository.insert_once(Hazard, {"id": 7}, Hazard.id) for _ in range(2)]
    assert ends == [Insertion.INSERTED, Insertion.DUPLICATE]


async def test_25_a_session_is_the_same_with_each_driver(database: Manager) -> None:
    """Its settings reach PostgreSQL."""
    assert await read(database, "SHOW application_name") == "hazards"
    assert await read(database, "SHOW client_connection_check_interval") == "1s"
    assert await read(database, "SHOW default_transaction_read_only") == "on"


async def _sleep(database: Manager, timeouts: Timeouts | None = None) -> None:
    async with database.transaction("sleep", timeouts=timeouts):
        await insert(database, 1)
        await database.fetch_sql("SELECT pg_sleep(30)")
