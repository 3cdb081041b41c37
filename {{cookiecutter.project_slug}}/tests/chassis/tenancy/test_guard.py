# feature: row, rls, schema
"""SQL that is not kept to the tenant of its scope is refused, in production as everywhere."""

from collections.abc import AsyncIterator, Sequence  # feature: row, rls
from contextlib import suppress  # feature: row, rls
from typing import Any

import pytest

from acme_orders.chassis.database.manager import Manager  # feature: row, rls
from acme_orders.chassis.errors import ConfigurationError, TransactionMisused
from acme_orders.chassis.observability.metrics import Metrics  # feature: row, rls
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.tenancy.scope import system_scope, tenant_scope

from readiness.scratch import rows_of  # feature: row, rls
from tests.chassis.conftest import Connect
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.models import Buyer, Sale  # feature: row, rls
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import ADA, BOB, register, sale
from tests.chassis.tenancy.test_scopes import (
    leaving,
    managing,  # feature: row, rls
    violations,  # feature: row, rls
)

URLS: dict[str, Any] = {
    "database_url": "postgresql://me:sesame-0pen@c/d",
    "broker_url": "memory://",
    "rabbitmq_management_url": None,
}


@pytest.fixture
def url(database_url: str) -> str:
    """A database with two tenants."""
    register(database_url, [ADA, BOB])
    return database_url


def settings(**changes: str) -> ChassisSettings:
    """What a process would have read."""
    return SERVICE.load_settings(_env_file=None, **URLS, **changes)


@pytest.mark.parametrize("environment", ["production", "development", "test"])
def test_such_sql_is_refused_by_default(environment: str) -> None:
    """Nobody has to think of it."""
    assert settings(environment=environment).tenant_guard == "raise"
    assert settings().tenant_guard == "raise"


def test_in_production_it_is_never_only_logged() -> None:
    """That would answer with the data of another tenant."""
    with pytest.raises(
        ConfigurationError, match=r"TENANT_GUARD=log would show .* TENANT_GUARD=raise"
    ):
        settings(environment="production", tenant_guard="log")
    assert settings(environment="development", tenant_guard="log").tenant_guard == "log"
    with pytest.raises(ConfigurationError, match=r"TENANT_GUARD='off'.*'log' or 'raise'"):
        settings(environment="development", tenant_guard="off")


@pytest.mark.parametrize("environment", ["production", "development", "test"])
async def test_the_service_refuses_it(connect: Connect, url: str, environment: str) -> None:
    """A read and a write that forget the tenant; nothing is answered or changed."""
    async with connect(environment=environment) as service:
        manager = service.manager
        for tenant in (ADA, BOB):
            with tenant_scope(tenant):
                async with manager.transaction("place"):
                    await Sales(manager).add_all([sale(1)])
        read = leaving(url, BOB)
        write = read.replace("SELECT total_cents FROM", "UPDATE") + " SET status = 'cancelled'"
        for sql in (read, write, f"{write} RETURNING id", read.replace("SELECT", "TABLE sales;")):
            with tenant_scope(ADA), pytest.raises(TransactionMisused):
                async with manager.transaction("leak"):
                    await manager.fetch_sql(sql)
        for tenant in (ADA, BOB):
            with tenant_scope(tenant):
                async with manager.transaction("look", read_only=True):
                    assert [each.status for each in await Sales(manager).page()] == ["booked"]


# feature: row, rls {
# T is a tenant, S a status, X anything that no other row has.
INBOX = "INSERT INTO inbox (consumer, source, id, type, payload_hash, tenant_id) VALUES {0}, {0}"
FOR_ONE = [
    ("SELECT id FROM sales WHERE tenant_id = %s", "T"),
    ("SELECT id FROM sales WHERE tenant_id = 'T'", ""),
    ("SELECT id FROM sales WHERE tenant_id = CAST(%s AS uuid) AND status = %s", "TS"),
    ("SELECT id FROM sales WHERE status IN (%s, %s, %s) AND tenant_id = %s", "SSST"),
    ("SELECT id FROM sales WHERE status = %s AND (tenant_id, currency) = (%s, 'EUR')", "ST"),
    ("SELECT 1 FROM sales o JOIN sale_lines l ON l.tenant_id = %s WHERE o.tenant_id = %s", "TT"),
    ("WITH x AS (SELECT id FROM sales WHERE tenant_id = %s) SELECT * FROM x", "T"),
    ("SELECT '%%' WHERE EXISTS (SELECT FROM sales WHERE tenant_id = %s)", "T"),
    ("UPDATE sales SET status = %s WHERE tenant_id = %s", "ST"),
    ("DELETE FROM sale_lines WHERE tenant_id = %s", "T"),
    ("INSERT INTO buyers (id, tenant_id, email) VALUES (gen_random_uuid(), %s, %s)", "TX"),
    (INBOX.format("(%s, %s, %s, %s, %s, %s)"), "XXXXXTXXXXXT"),
]


class _Undone(Exception):
    """Ends a transaction without a COMMIT."""


@pytest.fixture
async def manager(url: str) -> AsyncIterator[Manager]:
    """A manager as the service has it."""
    async with managing(url, Metrics()) as opened:
        yield opened


def values(kinds: str, tenant: str | None) -> list[str | None]:
    """Values for the placeholders."""
    return [{"T": tenant, "S": "booked", "X": f"{at}@x"}[kind] for at, kind in enumerate(kinds)]


async def send(manager: Manager, sql: str, given: Sequence[str | None]) -> None:
    """Run a statement, and undo it."""
    with suppress(_Undone):
        async with manager.transaction("test"):
            await manager.fetch_sql(sql, *given)
            raise _Undone


async def test_a_value_of_another_tenant_is_refused(manager: Manager) -> None:
    """Where only the code protects, it would be answered; that of the scope is sent."""
    for sql, kinds in FOR_ONE:
        for mine, other in ((str(ADA), str(BOB)), (ADA.hex, BOB.hex), (str(ADA).upper(), "nobody")):
            with tenant_scope(ADA):
                await send(manager, sql.replace("'T'", f"'{mine}'"), values(kinds, mine))
                with pytest.raises(
                    TransactionMisused, match="another tenant than that of the scope"
                ):
                    await send(manager, sql.replace("'T'", f"'{other}'"), values(kinds, other))
        if "T" in kinds:
            with tenant_scope(ADA), pytest.raises(TransactionMisused, match="another tenant"):
                await send(manager, sql, values(kinds, None))


async def test_one_row_of_many_for_another_tenant_is_refused(manager: Manager) -> None:
    """The rows have one shape, but each has its own values."""
    sql, kinds = FOR_ONE[-1]
    for place in (5, 11):
        given = values(kinds, str(ADA))
        given[place] = str(BOB)
        with tenant_scope(ADA), pytest.raises(TransactionMisused, match="another tenant"):
            await send(manager, sql, given)


async def test_what_peewee_makes_for_another_tenant_is_refused(manager: Manager) -> None:
    """A row of somebody else, and a condition that finds nothing anyway."""
    with tenant_scope(ADA):
        bob = Sale.select(Sale.id).where(Sale.tenant_id == BOB).dicts()
        added = Buyer.insert_many([{"id": BOB, "email": "b@b.b"}])
        async with manager.transaction("test"):
            with pytest.raises(TransactionMisused, match="another tenant"):
                await manager.fetch(bob)
            await manager.execute(added)
    with tenant_scope(BOB), pytest.raises(TransactionMisused, match="another tenant"):
        async with manager.transaction("test"):
            await manager.execute(added)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT note FROM notes",
        "SELECT note FROM shown",
        "UPDATE notes SET note = 'mine'",
        "DELETE FROM notes WHERE note = %s",
        "INSERT INTO notes (note) VALUES ('mine')",
        "SELECT 1 FROM sales o JOIN notes n ON n.note = o.status WHERE o.tenant_id = %s",
    ],
)
async def test_a_table_without_a_model_belongs_to_tenants_as_well(url: str, sql: str) -> None:
    """A column `tenant_id` says so, in a view too."""
    rows_of(url, "CREATE TABLE notes (tenant_id uuid, note text)")
    rows_of(url, f"INSERT INTO notes VALUES ('{ADA}', 'a'), ('{BOB}', 'b')")
    rows_of(url, "CREATE VIEW shown AS SELECT * FROM notes")
    metrics = Metrics()
    async with managing(url, metrics) as manager:
        with tenant_scope(ADA), pytest.raises(TransactionMisused, match=r"notes|shown"):
            async with manager.transaction("test"):
                await manager.fetch_sql(sql, *[str(ADA)] if "%s" in sql else [])
        assert violations(metrics) == 1
        with tenant_scope(ADA):
            async with manager.transaction("test", read_only=True):
                kept = "SELECT note FROM {} WHERE tenant_id = %s"
                for table in ("notes", "shown"):
                    assert await manager.fetch_sql(kept.format(table), ADA) == [("a",)]
    assert rows_of(url, "SELECT count(*), min(note), max(note) FROM notes") == [(2, "a", "b")]


# feature: row, rls }
async def test_the_system_may_work_for_all(connect: Connect, url: str) -> None:
    """It has said for which reason."""
    async with connect() as service:
        with system_scope("test"):
            async with service.manager.transaction("test", read_only=True):
                assert await service.manager.fetch_sql("SELECT count(*) FROM outbox") == [(0,)]
