"""The manager keeps what is done together together; with every driver that is here."""

from collections.abc import AsyncIterator

import pytest

from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.errors import (
    Conflict,
    TransactionMisused,
    WriteOutsideTransaction,
)

from tests.chassis.integration.hazards_bare import DRIVERS, use_driver, watching
from tests.chassis.integration.test_hazards import insert, prepared, read, rows


@pytest.fixture(params=DRIVERS)
async def database(
    request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Manager]:
    """A manager with two connections, and an empty table."""
    use_driver(request.param, monkeypatch)
    async with prepared(database_url) as opened:
        yield opened


async def test_a_transaction_commits_all_of_it(database: Manager) -> None:
    """What happens inside is there afterwards."""
    async with database.transaction("test"):
        await insert(database, 1)
        await insert(database, 2)
    assert await rows(database) == 2


async def test_a_failure_rolls_all_of_it_back(database: Manager) -> None:
    """An exception leaves nothing behind."""
    with pytest.raises(ZeroDivisionError):
        async with database.transaction("test"):
            await insert(database, 1)
            raise ZeroDivisionError
    assert await rows(database) == 0


async def test_a_write_outside_a_transaction_is_refused(database: Manager) -> None:
    """PostgreSQL itself says no, whatever way the SQL was made."""
    async with database.connection() as lease:
        with pytest.raises(WriteOutsideTransaction):
            await lease.send("INSERT INTO hazard (id) VALUES (1)")
        with pytest.raises(WriteOutsideTransaction):
            await lease.send("WITH x AS (DELETE FROM hazard RETURNING 1) SELECT * FROM x")


async def test_a_savepoint_undoes_its_own_part_only(database: Manager) -> None:
    """The inner part fails, the outer part commits."""
    async with database.transaction("test"):
        await insert(database, 1)
        with pytest.raises(ZeroDivisionError):
            async with database.savepoint():
                await insert(database, 2)
                raise ZeroDivisionError
    assert await rows(database) == 1
    assert await read(database, "SELECT id FROM hazard") == 1


async def test_a_conflict_runs_all_of_it_again(database: Manager, database_url: str) -> None:
    """What the first attempt wrote is not there twice."""
    attempts = 0
    with watching(database_url) as ask:
        ask("BEGIN; LOCK TABLE outbox")

        @retryable
        async def unit() -> None:
            nonlocal attempts
            attempts += 1
            await insert(database, 1)
            try:
                await database.fetch_sql("LOCK TABLE outbox NOWAIT")
            except Conflict:
                ask("ROLLBACK")
                raise

        await database.run("test", unit)
    assert attempts == 2
    assert await rows(database) == 1


async def test_the_last_conflict_is_raised(database: Manager, database_url: str) -> None:
    """After as many attempts as were allowed."""
    attempts = 0
    with watching(database_url) as ask:
        ask("BEGIN; LOCK TABLE hazard")

        @retryable
        async def unit() -> None:
            nonlocal attempts
            attempts += 1
            await database.fetch_sql("LOCK TABLE hazard NOWAIT")

        with pytest.raises(Conflict):
            await database.run("test", unit, retries=2)
    assert attempts == 3


async def test_only_what_is_declared_retryable_runs_again(database: Manager) -> None:
    """What a rollback does not undo would happen twice."""

    async def unit() -> None:
        raise AssertionError

    with pytest.raises(TransactionMisused, match="retryable"):
        await database.run("test", unit)


async def test_a_unit_inside_a_transaction_is_refused(database: Manager) -> None:
    """It could not be run again alone."""

    @retryable
    async def unit() -> None:
        raise AssertionError

    async with database.transaction("outer"):
        with pytest.raises(TransactionMisused, match="outer"):
            await database.run("inner", unit)
