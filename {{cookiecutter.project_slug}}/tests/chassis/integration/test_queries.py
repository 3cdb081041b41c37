"""What is told about queries: slow, failing and repeated ones, by name and without values."""

import asyncio
import traceback
from contextvars import Context
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.messaging.memory import MemoryDelivery
from acme_orders.chassis.process.service import Service

from readiness.scratch import session
from tests.chassis.conftest import Connect, consuming, count, eventually, rows, send, sold
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.models import Buyer
from tests.chassis.slices.sales.repository import Sales

pytestmark = pytest.mark.usefixtures("tenant")  # feature: row, rls, schema

SECRET = "grace@example.com"
NOBODY = UUID(int=7)
WAITING = """
    SELECT application_name, query FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def counted(service: Service, metric: str, **labels: str) -> float:
    """What a counter has; 0 if it never moved."""
    return service.metrics.registry.get_sample_value(metric, labels) or 0


def names(service: Service) -> set[str]:
    """The queries that the metric knows."""
    families = service.metrics.registry.collect()
    (family,) = (each for each in families if each.name == "db_client_operation_duration_seconds")
    return {sample.labels["query"] for sample in family.samples}


def told(records: list[Any], event: str) -> list[dict[str, Any]]:
    """The log records of one event, without what every record has."""
    return [
        {key: value for key, value in record.items() if key not in {"event", "log_level"}}
        for record in records
        if record["event"] == event
    ]


async def test_a_slow_statement_is_logged_as_sql_and_counted(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """With the name of its query and its unit of work, and `%s` for each value."""
    sql = "SELECT pg_sleep(0.3), %s::text"
    async with connect(slow_statement=0.2) as service:
        manager = service.manager
        with capture_logs() as records:
            async with manager.transaction("test"):
                with manager.named("test.sleep"):
                    await manager.fetch_sql(sql, SECRET)
        (slow,) = told(records, "database.slow_statement")
        assert slow.pop("seconds") >= 0.3
        assert slow == {"query": "test.sleep", "sql": sql, "unit_of_work": "test"}
        assert counted(service, "db_slow_statements_total", query="test.sleep") == 1
    assert SECRET not in str(records) + caplog.text


async def test_a_fast_statement_is_not_logged(connect: Connect) -> None:
    """Nobody would read it."""
    async with connect(slow_statement=30) as service:
        with capture_logs() as records:
            async with service.manager.transaction("test"):
                await service.manager.fetch_sql("SELECT 1")
    assert told(records, "database.slow_statement") == []


@pytest.mark.parametrize(
    ("sql", "sqlstate", "kind"),
    [
        ("SELECT %s::integer", "22P02", "other"),
        ("SELECT no_such_column FROM pg_class WHERE relname = %s", "42703", "other"),
        ("SELECT 1 / (length(%s) - 17)", "22012", "other"),
    ],
)
async def test_a_failing_statement_is_logged_without_its_values(
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    sql: str,
    sqlstate: str,
    kind: str,
) -> None:
    """They may be personal data: they are in no record, in no message, and in no traceback."""
    async with connect() as service:
        manager = service.manager
        with capture_logs() as records, pytest.raises(DatabaseError) as failed:
            async with manager.transaction("test"):
                with manager.named("test.failing"):
                    await manager.fetch_sql(sql, SECRET)
        assert told(records, "database.statement_failed") == [
            {
                "query": "test.failing",
                "sqlstate": sqlstate,
                "kind": kind,
                "unit_of_work": "test",
            }
        ]
        assert counted(service, "db_client_errors_total", query="test.failing", kind=kind) == 1
    shown = "".join(traceback.format_exception(failed.value))
    assert SECRET not in str(records) + caplog.text + shown


async def test_a_row_that_is_there_already_is_not_shown(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL tells its values in the detail of the error."""
    async with connect() as service:
        manager = service.manager
        with capture_logs() as records, pytest.raises(DatabaseError) as failed:
            async with manager.transaction("test"):
                for _ in range(2):
                    await manager.execute(Buyer.insert(id=uuid4(), email=SECRET))
    (record,) = told(records, "database.statement_failed")
    assert (record["sqlstate"], record["kind"]) == ("23505", "constraint")
    shown = "".join(traceback.format_exception(failed.value))
    assert SECRET not in str(records) + caplog.text + shown


async def test_a_query_for_each_row_of_another_is_reported_once(connect: Connect) -> None:
    """By its name, with how often it ran."""
    async with connect() as service:
        sales = Sales(service.manager)
        with capture_logs() as records:
            async with service.manager.transaction("test", read_only=True):
                for number in range(30):
                    await sales.by_id(UUID(int=number))
        (repeated,) = told(records, "database.repeated_statement")
        assert "%s" in repeated.pop("sql")
        assert repeated == {
            "query": "sales.by_id",
            "times": 30,
            "items": 1,
            "unit_of_work": "test",
        }
        assert counted(service, "db_repeated_statements_total", query="sales.by_id") == 1


async def test_a_batch_of_messages_may_repeat_what_each_of_them_needs(connect: Connect) -> None:
    """Thirty messages in one transaction are thirty items, and no mistake."""
    async with connect() as service:
        queue = service.topology.main.name
        batch = [MemoryDelivery(sold(), queue, False, lambda *_: None) for _ in range(30)]
        with capture_logs() as records:
            await service.consumer.process(batch)
        assert await count(service, "sales") == 30
    assert told(records, "database.repeated_statement") == []


async def test_a_transaction_that_found_nothing_to_do_repeats_nothing(connect: Connect) -> None:
    """The relay gives back what it could not publish: one statement, for no event."""
    async with connect() as service:
        with capture_logs() as records:
            async with service.manager.transaction("test", read_only=True, items=0):
                await Sales(service.manager).by_id(NOBODY)
    assert told(records, "database.repeated_statement") == []


@pytest.mark.parametrize("comments", [True, False])
async def test_postgresql_shows_which_query_a_statement_is_of(
    connect: Connect, database_url: str, *, comments: bool
) -> None:
    """In a comment, if that is asked for; and in any case which service has sent it."""
    async with connect(sql_comments=comments) as service:

        async def read() -> None:
            async with service.manager.transaction("test", read_only=True):
                await Sales(service.manager).by_id(NOBODY)

        with session(database_url) as cursor:
            cursor.execute("BEGIN; LOCK TABLE sales")
            reading = asyncio.create_task(read())
            seen: list[tuple[Any, ...]] = []

            async def waits() -> bool:
                seen.extend(await rows(service, WAITING))
                return bool(seen)

            await eventually(waits)
            cursor.execute("ROLLBACK")
        await reading
    ((application, sql),) = seen
    assert application == SERVICE.name
    assert sql.startswith("SELECT")
    assert ("/*" in sql) is sql.endswith("/*query='sales.by_id'*/") is comments


async def test_every_statement_of_a_message_has_a_name(connect: Connect) -> None:
    """From the claim to the relay's report: nothing in the metric is `unregistered`."""
    stop = asyncio.Event()
    async with connect() as service, asyncio.TaskGroup() as parts:
        async with consuming(service):
            await send(service, sold())
            parts.create_task(service.relay.run(stop), context=Context())
            seen = {"inbox.enter", "sales.add", "outbox.add", "outbox.lease", "outbox.backlog"}
            await eventually(lambda: names(service) >= seen)
        stop.set()
    assert names(service) <= set(service.queries())


async def test_a_process_that_explains_hears_of_no_other_statement(connect: Connect) -> None:
    """Neither meanwhile nor later: it would keep all of them, with their values."""
    async with connect() as service:
        manager = service.manager
        with manager.observed("explain") as statements:
            async with manager.transaction("other", read_only=True):
                await manager.fetch_sql("SELECT 1")
            async with manager.transaction("explain", read_only=True):
                await manager.fetch_sql("SELECT 2")
        async with manager.transaction("explain", read_only=True):
            await manager.fetch_sql("SELECT 3")
        assert [each.sql for each in statements if each.sql.startswith("SELECT")] == ["SELECT 2"]
