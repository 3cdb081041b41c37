# feature: row, rls, schema
"""Dead letters belong to nobody in particular; only work for all tenants sees them."""

from dataclasses import replace

import pytest

from acme_orders.chassis.cli.reproduce import reproduced
from acme_orders.chassis.dead_letters.record import read
from acme_orders.chassis.errors import TransactionMisused
from acme_orders.chassis.tenancy.scope import system_scope, tenant_scope

from readiness.scratch import rows_of  # feature: row, rls
from readiness.two_tenants import TENANT  # feature: rls
from tests.chassis.conftest import Connect, sold
from tests.chassis.integration.dead_letter_queue import archived, failed
from tests.chassis.slices.sales.repository import Sales
from tests.chassis.tenancy.several import ADA, BOB, register, sale

# feature: row, rls {
WITHOUT_TENANT = """
SELECT relname::text FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = pg_class.oid AND attname = 'tenant_id' AND NOT attisdropped
)
ORDER BY 1
"""
# feature: row, rls }
COUNTING = "SELECT count(*) FROM dead_letters"  # feature: rls


async def test_no_query_of_a_tenant_reaches_dead_letters(connect: Connect, tenant: None) -> None:
    """Those for all tenants are refused in the scope of one."""
    async with connect() as service, service.manager.transaction("test", read_only=True):
        with pytest.raises(TransactionMisused, match="across tenants"):
            await service.dead_letters.backlog()


async def test_the_system_sees_all_of_them(connect: Connect) -> None:
    """Whoever they were for."""
    async with connect() as service:
        await archived(service, failed(), failed(headers={}))
        with system_scope("test"):
            async with service.manager.transaction("test", read_only=True):
                assert (await service.dead_letters.backlog()).count == 2


async def test_the_test_that_one_becomes_has_rows_of_its_tenant_alone(
    connect: Connect, database_url: str
) -> None:
    """Though another tenant has rows with the same keys."""
    register(database_url, [ADA, BOB])
    async with connect() as service:
        for tenant, cents in ((ADA, 1234), (BOB, 5678)):
            with tenant_scope(tenant):
                async with service.manager.transaction("test"):
                    await Sales(service.manager).add_all([sale(cents)])
        message = sold(**sale(1234).model_dump(mode="json"))
        message = replace(message, headers={**message.headers, "tenant": str(ADA)})
        with system_scope("test"):
            text, notes = await reproduced(service, read(message, largest_body=10_000))
    assert "would be processed now" in notes[0]
    assert notes[-1] == "rows: 1 of buyers, 1 of sales, 1 of sale_lines"
    assert "1234" in text
    assert "5678" not in text


# feature: row, rls {
def test_every_other_table_has_a_tenant(database_url: str) -> None:
    """A forgotten column is found here, whether or not a query touches the table."""
    assert [name for (name,) in rows_of(database_url, WITHOUT_TENANT)] == [
        "backfill_event",
        "backfill_run",
        "dead_letters",
        "erasure_request",
        "legal_hold",
        "parked_types",
        "retention_run",
        "schema_migrations",
        "tenants",
    ]


# feature: row, rls }
# feature: rls {
async def test_postgresql_shows_a_tenant_none(connect: Connect) -> None:
    """Not even to SQL by hand that passes every rule."""
    async with connect() as service:
        await archived(service, failed())
        for scope, seen in ((tenant_scope(TENANT), 0), (system_scope("test"), 1)):
            with scope:
                async with service.manager.transaction("test", read_only=True):
                    assert await service.manager.fetch_sql(COUNTING) == [(seen,)]


# feature: rls }
