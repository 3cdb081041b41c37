"""What happens to the database, and in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.errors import Conflict, DatabaseError
from acme_orders.chassis.migrations.reported import MigrationReport
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import consuming, eventually, impatient, rows, send, settled, sold
from tests.chassis.integration.causes import HOUR_AGO, moves, value
from tests.chassis.slices.sales.repository import Sales


@moves(
    *("db_client_errors", "db_slow_statements", "db_repeated_statements", "db_guard_violations"),
    slow_statement=0.1,
    repeated_statements=3,
)
async def statements_misbehave(service: Service) -> AsyncIterator[None]:
    """They fail, are slow, run again and again, or write without a transaction."""

    async def unit(manager: Manager) -> None:
        work_for(TENANT)  # feature: row, rls, schema
        async with manager.transaction("test", read_only=True):
            await manager.fetch_sql("SELECT pg_sleep(0.2), %s", 1)
            for number in range(5):
                await manager.fetch_sql("SELECT %s", number)
        with suppress(DatabaseError):
            async with manager.transaction("test", read_only=True):
                await manager.fetch_sql("SELECT 1 / (%s - 1)", 1)
        with suppress(Exception):
            async with manager.transaction("test", read_only=True):
                await manager.fetch_sql("SET work_mem = 64")

    await asyncio.create_task(unit(service.manager))
    yield


@moves("db_transaction_retries", "db_transaction_retries_exhausted")
async def transactions_conflict(service: Service) -> AsyncIterator[None]:
    """With each other, at each attempt."""
    await rows(
        service,
        "CREATE FUNCTION public.conflict() RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$",
    )

    async def unit() -> None:
        await service.manager.fetch_sql("SELECT public.conflict()")

    async def work() -> None:
        work_for(TENANT)  # feature: row, rls, schema
        with suppress(Conflict):
            await service.manager.run("test", retryable(unit), retries=1)

    await asyncio.create_task(work())
    yield


@moves("db_rows_already_there")
async def a_sale_is_told_of_twice(service: Service) -> AsyncIterator[None]:
    """In two messages, so that the inbox does not know the second one."""
    first = sold()
    async with consuming(service):
        for number, each in enumerate((first, replace(sold(), body=first.body)), 1):
            await send(service, each)
            await eventually(lambda: settled(service, "done") == number)  # noqa: B023
    yield


@moves("db_unreadable_rows")
async def a_row_has_a_value_without_a_form_in_python(service: Service) -> AsyncIterator[None]:
    """A time without end."""
    async with consuming(service):
        await send(service, sold())
        await eventually(lambda: settled(service, "done") == 1)
    await rows(service, "UPDATE sales SET made_at = 'infinity'")
    sales = next(each for each in service.repositories if isinstance(each, Sales))

    async def look() -> None:
        work_for(TENANT)  # feature: row, rls, schema
        async with service.manager.transaction("test", read_only=True):
            await sales.page(after=None, limit=5)

    await asyncio.create_task(look())
    yield


@moves(
    *("db_client_connection_timeouts", "db_client_connections_pending_requests"),
    pool_size=2,
)
async def all_connections_are_taken(service: Service) -> AsyncIterator[None]:
    """Somebody waits for one, in vain."""
    free = asyncio.Event()

    async def hold() -> None:
        async with service.manager.connection():
            await free.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(hold())
        used = {"state": "used"}
        await eventually(lambda: value(service, "db_client_connections", **used) == 2)
        impatient(service.manager, 1.0)
        waiting = asyncio.create_task(service.manager.ping())
        await eventually(lambda: value(service, "db_client_connections_pending_requests") == 1)
        yield
        free.set()
        await asyncio.wait([waiting])
        waiting.exception()


@moves("db_client_connections_closed")
async def postgresql_ends_sessions(service: Service) -> AsyncIterator[None]:
    """The next one who takes such a connection finds out."""
    await service.manager.ping()
    await rows(
        service,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    with suppress(Exception):
        await service.manager.ping()
    yield


@moves("db_migration_duration_seconds")
async def migrations_were_applied(service: Service) -> AsyncIterator[None]:
    """By somebody who is gone."""
    await MigrationReport(Migrator(service.settings.database_url), service.metrics).update()
    yield


@moves(
    *("backfill_state", "backfill_rows_done", "backfill_rows", "backfill_still_seconds"),
    "backfill_silent_seconds",
)
async def a_backfill_stands_still(service: Service) -> AsyncIterator[None]:
    """Its runner was killed an hour ago."""
    await rows(
        service,
        "INSERT INTO backfill_run (name, state, batch_size, rows_done, rows_estimate, checksum, "
        f"heartbeat_at, moved_at) VALUES ('fill', 'running', 5, 1, 2, '', {HOUR_AGO}, {HOUR_AGO})",
    )
    await service.backfill_report.update()
    yield


@moves("erasure_oldest_seconds", "erasure_overdue_seconds")
async def somebody_asks_to_be_erased(service: Service) -> AsyncIterator[None]:
    """An hour ago, and it was urgent."""
    await rows(
        service,
        "INSERT INTO erasure_request (id, digest, actor, trace_id, requested_at, due_at) VALUES "
        f"(gen_random_uuid(), repeat('0', 64), 'x', md5(''), {HOUR_AGO}, {HOUR_AGO})",
    )
    service.retention_report.read()
    yield


@moves("retention_rows_deleted", "retention_overdue_seconds")
async def something_old_goes(service: Service) -> AsyncIterator[None]:
    """Nobody has looked since the schema was made, an hour ago."""
    await rows(
        service,
        "INSERT INTO backfill_event (name, place, what, at) "
        "VALUES ('x', 'public', 'x', '2001-01-01')",
    )
    await rows(
        service, f"UPDATE schema_migrations SET applied_at = {HOUR_AGO} - interval '2 hours'"
    )
    service.retention_report.read()
    await asyncio.to_thread(service.deleter.run_once, asyncio.Event())
    yield


@moves("retention_findings")
async def something_old_cannot_go(service: Service) -> AsyncIterator[None]:
    """A table that nobody has declared refers to it."""
    await rows(
        service,
        "CREATE TABLE public.undeclared (id uuid PRIMARY KEY REFERENCES public.dead_letters (id))",
    )
    await asyncio.to_thread(service.deleter.run_once, asyncio.Event())
    yield
