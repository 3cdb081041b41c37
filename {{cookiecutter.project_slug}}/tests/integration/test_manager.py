"""The manager closes the holes that its libraries leave open; with every driver that is here."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acme_orders.database import connections, failures, manager
from acme_orders.database.connections import Timeouts
from acme_orders.database.manager import Manager
from acme_orders.errors import (
    ConstraintViolated,
    DatabaseUnavailable,
    StatementTimeout,
    TransactionAborted,
    TransactionMisused,
    WriteOutsideTransaction,
)
from acme_orders.observability.metrics import Metrics

DRIVERS = sorted(file.stem for file in Path(connections.__file__).parent.glob("driver*.py"))


@pytest.fixture(params=DRIVERS)
async def database(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Manager]:
    """A manager with two connections."""
    chosen = importlib.import_module(f"acme_orders.database.{request.param}")
    for module in (connections, failures, manager):
        monkeypatch.setattr(module, "driver", chosen)
    timeouts = Timeouts(acquire=0.3, statement=0.5)
    async with Manager(database_url, size=2, metrics=Metrics(), timeouts=timeouts) as opened:
        yield opened


async def insert(database: Manager, name: str = "a") -> None:
    """Write something."""
    await database.fetch_sql(
        "INSERT INTO inbox (consumer, source, id, type, payload_hash) "
        "VALUES ('c', 's', %s, 't', '')",
        (name,),
    )


async def rows(database: Manager) -> int:
    """How much was written."""
    return int((await database.fetch_sql("SELECT count(*) FROM inbox"))[0][0])


async def test_a_transaction_commits_all_of_it(database: Manager) -> None:
    """What happens inside is there afterwards."""
    async with database.transaction("test"):
        await insert(database)
    assert await rows(database) == 1


async def test_a_failure_rolls_all_of_it_back(database: Manager) -> None:
    """An exception leaves nothing behind."""
    with pytest.raises(ZeroDivisionError):
        async with database.transaction("test"):
            await insert(database)
            raise ZeroDivisionError
    assert await rows(database) == 0


async def test_a_write_outside_a_transaction_is_refused(database: Manager) -> None:
    """PostgreSQL itself says no, whatever way the SQL was made."""
    with pytest.raises(WriteOutsideTransaction):
        await insert(database)
    with pytest.raises(WriteOutsideTransaction):
        await database.fetch_sql("WITH x AS (DELETE FROM inbox RETURNING 1) SELECT * FROM x")


async def test_a_swallowed_error_is_no_commit(database: Manager) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK; nobody may take that for success."""
    with pytest.raises(TransactionAborted):
        async with database.transaction("test"):
            await insert(database)
            with pytest.raises(ConstraintViolated) as broken:
                await insert(database)
            assert broken.value.constraint == "inbox_pkey"
    assert await rows(database) == 0


async def test_a_savepoint_undoes_its_own_part_only(database: Manager) -> None:
    """The inner part fails, the outer part commits."""
    async with database.transaction("test"):
        await insert(database, "outer")
        with pytest.raises(ZeroDivisionError):
            async with database.savepoint():
                await insert(database, "inner")
                raise ZeroDivisionError
    assert await database.fetch_sql("SELECT id FROM inbox") == [("outer",)]


async def test_a_statement_timeout_is_an_error_and_no_cancellation(database: Manager) -> None:
    """A task group does not end as if all were well."""
    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.TaskGroup() as group, database.transaction("test"):
            group.create_task(asyncio.sleep(0))
            await database.fetch_sql("SELECT pg_sleep(5)")
    assert failed.group_contains(StatementTimeout)


async def test_a_cancelled_query_is_a_cancellation_and_gives_its_connection_back(
    database: Manager,
) -> None:
    """A time-out of ours stays one, and the pool is whole afterwards."""
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), database.transaction("test"):
                await insert(database)
                await database.fetch_sql("SELECT pg_sleep(0.4)")
    assert await rows(database) == 0


async def test_a_child_task_is_refused_inside_its_parents_transaction(database: Manager) -> None:
    """Its statement would be in somebody else's transaction."""
    async with database.transaction("test"):
        with pytest.raises(TransactionMisused):
            await asyncio.create_task(rows(database))


async def test_an_exhausted_pool_is_an_outage_after_the_acquire_timeout(
    database: Manager,
) -> None:
    """The error names the setting."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        release = asyncio.Event()

        async def hold() -> None:
            async with database.connection():
                await release.wait()

        for _ in range(2):
            group.create_task(hold())
        await asyncio.sleep(0)
        with pytest.raises(DatabaseUnavailable, match="ACQUIRE_TIMEOUT"):
            await rows(database)
        release.set()
    assert await rows(database) == 0


async def test_a_killed_backend_is_an_outage_and_the_pool_recovers(database: Manager) -> None:
    """Inside a transaction the real error is not hidden by that of the rollback."""
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction("test"):
            await database.fetch_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await rows(database) == 0
