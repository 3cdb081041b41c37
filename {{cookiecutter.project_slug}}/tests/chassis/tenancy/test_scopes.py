# feature: row, rls, schema
"""Whose data a transaction may touch is said before anything is sent, and ends with its block."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
import structlog
from structlog.testing import capture_logs

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.errors import Malformed, TransactionMisused
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.relay.backlog import OutboxBacklog
from acme_orders.chassis.relay.pending import Pending
from acme_orders.chassis.tenancy.guard import Mode
from acme_orders.chassis.tenancy.scope import (
    NoTenant,
    UnknownTenant,
    current_scope,
    system_scope,
    tenant_scope,
)

from tests.chassis.slices.sales.messages import SALE_MADE
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import ADA, BOB, NOBODY, register, sale, schemas

Work = Callable[[Manager], Awaitable[object]]


@pytest.fixture
def url(database_url: str) -> str:
    """A database with two tenants."""
    register(database_url, [ADA, BOB])
    return database_url


@pytest.fixture
def metrics() -> Metrics:
    """What the manager counts."""
    return Metrics()


@pytest.fixture
async def manager(url: str, metrics: Metrics) -> AsyncIterator[Manager]:
    """A manager as the service has it."""
    async with managing(url, metrics) as opened:
        yield opened


@pytest.fixture
def sent(manager: Manager) -> list[Statement]:
    """Every statement from now on."""
    statements: list[Statement] = []
    manager.observe(statements.append)
    return statements


def managing(url: str, metrics: Metrics, guard: Mode = "raise") -> Manager:
    """A manager that is not connected yet."""
    # On a busy machine any statement may be slow, and a record of that is none of these tests'.
    settings = DatabaseSettings(database_url=url, pool_size=2, slow_statement=60)
    settings = settings.model_copy(update={"tenant_guard": guard})
    return Manager(settings, metrics, role=SERVICE_ROLE)


def connections(metrics: Metrics) -> tuple[float | None, ...]:
    """How often one was taken, and how many are in use."""
    value = metrics.registry.get_sample_value
    return (
        value("db_client_connection_wait_time_seconds_count"),
        value("db_client_connections", {"state": "used"}),
    )


async def place(manager: Manager, total_cents: int) -> None:
    """A sale, and an event about it."""
    sales, outbox, sold = Sales(manager), Outbox(manager), sale(total_cents)
    async with manager.transaction("place"):
        await sales.add_all([sold])
        await outbox.add(SALE_MADE, sold)


async def totals(manager: Manager) -> list[int]:
    """Of the sales that are seen."""
    async with manager.transaction("totals", read_only=True):
        return [each.total_cents for each in await Sales(manager).page()]


async def _transaction(manager: Manager) -> None:
    async with manager.transaction("test"):
        pass


async def _unit(manager: Manager) -> None:
    async def unit() -> None:
        raise AssertionError

    await manager.run("test", retryable(unit))


async def _query(manager: Manager) -> None:
    await Sales(manager).page()


async def _query_across_tenants(manager: Manager) -> None:
    await OutboxBacklog(manager).pending()


@pytest.mark.parametrize("work", [_transaction, _unit, _query, _query_across_tenants])
async def test_without_a_scope_nothing_is_sent(
    manager: Manager, metrics: Metrics, sent: list[Statement], work: Work
) -> None:
    """Not even a connection is taken, and the error says what to do."""
    before = connections(metrics)
    with pytest.raises(NoTenant, match="tenant_scope"):
        await work(manager)
    assert sent == []
    assert connections(metrics) == before


async def test_sql_without_a_scope_is_not_sent(manager: Manager, sent: list[Statement]) -> None:
    """Though it is no registered query."""
    with pytest.raises(NoTenant):
        await manager.fetch_sql("SELECT 1")
    assert sent == []


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "ada",
        7,
        None,
        b"00000000-0000-0000-0000-000000000ada",
        "00000000-0000-0000-0000-0000000000ada",  # 37 characters
        "00000000-0000-0000-0000-00000000-0ada",
        "{00000000-0000-0000-0000-000000000ada}",
        "00000000_0000_0000_0000_000000000ada",
        "00000000-0000-0000-0000-000000000ad\N{FULLWIDTH DIGIT ONE}",
        "00000000-0000-0000-0000-000000000ada\n",
        "00000000-0000-0000-0000-000000000ada' OR ''='",
    ],
)
def test_a_malformed_tenant_is_refused(malformed: Any) -> None:
    """With the value named, so that whoever sent it finds it."""
    with pytest.raises(Malformed) as refused, tenant_scope(malformed):
        pytest.fail("the scope was opened")
    assert (repr(malformed)[:60] if malformed else "no tenant is named") in str(refused.value)
    assert "UUID" in str(refused.value)


async def test_a_tenant_may_be_a_text_in_either_case(manager: Manager) -> None:
    """It is the same tenant."""
    for tenant in (ADA, str(ADA), str(ADA).upper()):
        with tenant_scope(tenant):
            assert current_scope().tenant == ADA
            await totals(manager)


async def test_an_unknown_tenant_is_refused(
    manager: Manager, metrics: Metrics, sent: list[Statement]
) -> None:
    """With what helps; nothing is left open, and the connection is still of use."""
    with tenant_scope(NOBODY), pytest.raises(UnknownTenant, match="`tenants add`") as refused:
        await totals(manager)
    assert str(NOBODY) in str(refused.value)
    assert sent == []
    assert connections(metrics)[1] == 0
    async with manager.connection() as lease:
        assert lease.transaction is None
        assert await lease.rows("SELECT now() = statement_timestamp()") == [(True,)]
    with tenant_scope(ADA):
        assert await totals(manager) == []


def test_a_scope_may_be_opened_again_inside_itself() -> None:
    """A handler may call what opens the scope by itself."""
    with tenant_scope(ADA):
        with tenant_scope(str(ADA)):
            assert current_scope().tenant == ADA
        assert current_scope().tenant == ADA


def test_another_tenant_inside_a_scope_is_refused() -> None:
    """Work for one of them has to end first; the scope stays what it was."""
    with tenant_scope(ADA):
        refusal = f"{BOB} inside the scope of tenant {ADA}: leave that one first"
        with pytest.raises(TransactionMisused, match=refusal), tenant_scope(BOB):
            pytest.fail("the scope was opened")
        assert current_scope().tenant == ADA


def test_a_scope_is_not_widened() -> None:
    """What works for one tenant cannot make itself work for all of them."""
    with tenant_scope(ADA):
        refusal = f"system's scope .because. inside that of tenant {ADA}"
        with pytest.raises(TransactionMisused, match=refusal), system_scope("because"):
            pytest.fail("the scope was opened")
        assert current_scope().tenant == ADA


async def test_the_scope_of_the_system_may_be_narrowed(manager: Manager) -> None:
    """For a transaction of one tenant; afterwards it is that of the system again."""
    with system_scope("test"):
        with tenant_scope(ADA):
            await place(manager, 1)
            assert await totals(manager) == [1]
        assert current_scope().tenant is None
        with tenant_scope(BOB):
            assert await totals(manager) == []


async def test_a_query_across_tenants_inside_the_scope_of_one_is_refused(
    manager: Manager, sent: list[Statement]
) -> None:
    """It would see the rows of this one only, and do half of its work."""
    with tenant_scope(ADA), pytest.raises(TransactionMisused, match=r"system_scope\(reason\)"):
        async with manager.transaction("test", read_only=True):
            await OutboxBacklog(manager).pending()
    assert sent == []


async def test_a_transaction_of_the_system_becomes_none_of_a_tenant(
    manager: Manager, sent: list[Statement]
) -> None:
    """PostgreSQL was told at its beginning that it works for all of them."""
    refusal = f"tenant {ADA} inside the transaction of all tenants"
    with system_scope("test"), pytest.raises(TransactionMisused, match=refusal):
        async with manager.transaction("test"):
            with tenant_scope(ADA):
                await Sales(manager).page()
    assert sent == []


async def test_a_transaction_that_outlives_its_scope_is_of_no_use_to_another(
    manager: Manager, sent: list[Statement]
) -> None:
    """Neither to another tenant nor to work that has no scope."""
    async with AsyncExitStack() as stack:
        with tenant_scope(ADA):
            await stack.enter_async_context(manager.transaction("test"))
        refusal = f"tenant {BOB} inside the transaction of tenant {ADA}"
        with tenant_scope(BOB), pytest.raises(TransactionMisused, match=refusal):
            await Sales(manager).page()
        with pytest.raises(NoTenant):
            await Sales(manager).page()
    assert sent == []


async def test_a_statement_outside_a_transaction_is_refused(
    manager: Manager, sent: list[Statement]
) -> None:
    """Only a transaction is told the tenant; also where a connection is held already."""
    for scope in (tenant_scope(ADA), system_scope("test")):
        with scope:
            with pytest.raises(TransactionMisused, match=r"manager\.transaction\(…, read_only"):
                await manager.fetch_sql("SELECT 1")
            async with manager.connection():
                with pytest.raises(TransactionMisused, match="outside a transaction"):
                    await manager.fetch_sql("SELECT 1")
    assert sent == []


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_scope_ends_with_its_block(error: type[BaseException]) -> None:
    """However it is left, and the logs do not name the tenant any more."""
    for scope in (tenant_scope(ADA), system_scope("test")):
        with pytest.raises(error), scope:
            raise error
        with pytest.raises(NoTenant):
            current_scope()
    assert "tenant" not in structlog.contextvars.get_contextvars()


async def test_a_scope_ends_when_its_task_is_cancelled(manager: Manager, metrics: Metrics) -> None:
    """In the middle of a transaction; the next one on the same connections finds nothing of it."""
    reached = asyncio.Event()

    async def cancelled() -> None:
        try:
            with tenant_scope(ADA):
                async with manager.transaction("test"):
                    await Sales(manager).add_all([sale(1)])
                    reached.set()
                    await asyncio.Event().wait()
        finally:
            with pytest.raises(NoTenant):
                current_scope()

    task = asyncio.create_task(cancelled())
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert connections(metrics)[1] == 0
    for tenant in (ADA, BOB):
        with tenant_scope(tenant):
            assert await totals(manager) == []


async def test_scopes_of_parallel_tasks_do_not_mix(manager: Manager) -> None:
    """Each task has its own, and the one that started them has none."""
    both = asyncio.Barrier(2)

    async def work(tenant: UUID, total_cents: int) -> list[int]:
        with tenant_scope(tenant):
            await both.wait()
            await place(manager, total_cents)
            await both.wait()
            return await totals(manager)

    assert list(await asyncio.gather(work(ADA, 1), work(BOB, 2))) == [[1], [2]]
    with pytest.raises(NoTenant):
        current_scope()


async def test_a_child_task_works_for_the_tenant_of_its_parent(manager: Manager) -> None:
    """It inherits the scope, and keeps it when the parent has left it."""
    go = asyncio.Event()

    async def child() -> list[int]:
        await go.wait()
        return await totals(manager)

    with tenant_scope(ADA):
        await place(manager, 1)
        task = asyncio.create_task(child())
    go.set()
    assert await task == [1]


def test_the_scope_of_the_system_is_logged_with_its_reason() -> None:
    """Once: work inside it that opens it again is no news."""
    with capture_logs() as logs, system_scope("retention"), system_scope("retention"):
        pass
    (entry,) = logs
    assert (entry["event"], entry["reason"]) == ("database.system_scope", "retention")


async def test_the_system_sees_the_events_of_all_tenants(manager: Manager) -> None:
    """As the relay does; each of them carries its tenant."""
    for tenant in (ADA, BOB):
        with tenant_scope(tenant):
            await place(manager, 1)
    with system_scope("test"):
        async with manager.transaction("test"):
            events, _ = await Pending(manager).lease(NOBODY, seconds=30, limit=10, parked=[])
    tenants = [event.message("test").headers["cloudEvents:tenant"] for event in events]
    assert tenants == [str(ADA), str(BOB)]


def leaving(url: str, tenant: UUID) -> str:
    """A query that is kept to no tenant, or to this one whoever asks."""
    where = f"{schemas(url)[tenant]}.sales" if schemas(url) else "sales"
    return f"SELECT total_cents FROM {where}"


def violations(metrics: Metrics) -> float | None:
    """How many statements were kept to no tenant."""
    return metrics.registry.get_sample_value("db_guard_violations_total", {"kind": "tenant"})


async def test_sql_for_no_tenant_is_refused(
    manager: Manager, metrics: Metrics, url: str, sent: list[Statement]
) -> None:
    """Before it is sent: nothing of it has run."""
    with tenant_scope(ADA), pytest.raises(TransactionMisused, match=r"leak: .*sales"):
        async with manager.transaction("test"):
            with manager.named("leak"):
                await manager.fetch_sql(leaving(url, BOB))
    assert violations(metrics) == 1
    assert sent == []


@pytest.mark.parametrize(("guard", "reported"), [("log", 1), ("off", 0)])
async def test_sql_for_no_tenant_may_be_reported_only(
    url: str, metrics: Metrics, guard: Mode, reported: int
) -> None:
    """Or let pass in silence; then it runs. The metric counts what is in the log."""
    async with managing(url, metrics, guard) as manager:
        with tenant_scope(ADA):
            async with manager.transaction("test", read_only=True):
                with capture_logs() as logs, manager.named("leak"):
                    await manager.fetch_sql(leaving(url, BOB))
                    await manager.fetch_sql("SELECT 1")
    entries = [(each["event"], each["query"]) for each in logs]
    assert entries == [("database.tenant_violation", "leak")] * reported
    assert (violations(metrics) or 0) == reported


async def test_sql_of_the_system_is_not_kept_to_a_tenant(manager: Manager) -> None:
    """It has said for which reason."""
    with system_scope("test"):
        async with manager.transaction("test", read_only=True):
            assert await manager.fetch_sql("SELECT count(*) FROM outbox") == [(0,)]


async def test_an_event_belongs_to_a_tenant(manager: Manager) -> None:
    """In the scope of all tenants nobody could say to which."""
    with system_scope("test"):
        async with manager.transaction("test"):
            with pytest.raises(TransactionMisused, match="one tenant"):
                await Outbox(manager).add("example", Payload())
