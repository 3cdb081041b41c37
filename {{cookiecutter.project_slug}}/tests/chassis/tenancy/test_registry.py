# feature: row, rls, schema
"""The registry of tenants: only its owner writes it."""

from uuid import UUID

import pytest

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import ConfigurationError, DatabaseError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.registry import Tenants
from acme_orders.chassis.tenancy.scope import system_scope, tenant_scope

from dev.databases import Databases
from readiness.two_tenants import TENANT
from tests.chassis.tenancy.several import ADA, BOB

WRITES = (
    f"INSERT INTO tenants (id, name) VALUES ('{ADA}', 'Ada')",
    "UPDATE tenants SET name = 'Ada'",
    "DELETE FROM tenants",
    "TRUNCATE tenants",
)


@pytest.fixture
def tenants(database_url: str) -> Tenants:
    """The registry of a database, with one tenant."""
    return Tenants(database_url)


def test_a_tenant_is_added_and_listed(tenants: Tenants) -> None:
    """The oldest first, and with any text as its name."""
    before = tenants.all()
    tenants.add(BOB, "Bob's \N{TEACUP WITHOUT HANDLE} %s")
    tenants.add(ADA, "Ada")
    assert tenants.all() == [*before, (BOB, "Bob's \N{TEACUP WITHOUT HANDLE} %s"), (ADA, "Ada")]


@pytest.mark.parametrize(
    ("tenant", "name", "why"),
    [
        (TENANT, "another", "id is taken"),
        (ADA, "test", "name is taken"),
        (ADA, "", "not empty"),
    ],
)
def test_a_tenant_is_refused_that_is_taken_or_has_no_name(
    tenants: Tenants, tenant: UUID, name: str, why: str
) -> None:
    """The error names it and says why; nothing is registered."""
    before = tenants.all()
    with pytest.raises(ConfigurationError, match=why) as refused:
        tenants.add(tenant, name)
    assert f"{name!r} ({tenant})" in str(refused.value)
    assert tenants.all() == before == [(TENANT, "test")]


def test_a_registry_that_is_not_there_is_an_error_that_helps(database_url: str) -> None:
    """Before the first migration there is none."""
    databases = Databases(database_url)
    empty = databases.create()
    try:
        for use in (Tenants(empty).all, lambda: Tenants(empty).add(ADA, "Ada")):
            with pytest.raises(ConfigurationError, match="`migrate up`"):
                use()
    finally:
        databases.drop(empty)


@pytest.mark.parametrize("write", WRITES)
async def test_the_service_cannot_write_the_registry(
    tenants: Tenants, database_url: str, write: str
) -> None:
    """Neither for a tenant nor for all of them: whoever takes it over makes no tenants."""
    before = tenants.all()
    settings = DatabaseSettings(database_url=database_url, pool_size=1)
    off = settings.model_copy(update={"tenant_guard": "off"})  # PostgreSQL itself has to refuse it
    async with Manager(off, Metrics(), role=SERVICE_ROLE) as manager:
        for scope in (tenant_scope(TENANT), system_scope("test")):
            with scope, pytest.raises(DatabaseError, match="permission denied") as refused:
                async with manager.transaction("test"):
                    await manager.fetch_sql(write)
            assert refused.value.sqlstate == "42501"
    assert tenants.all() == before
