"""What tests share: servers, and a database of their own.

The servers come from `make test`; to run some tests alone:
`python -m dev.servers --broker rabbitmq -- python -m pytest tests -k NAME`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID  # feature: row, rls, schema

import pytest

from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import tenant_scope  # feature: row, rls, schema
from acme_orders.service import SERVICE
from acme_orders.settings import Settings

from dev.databases import Databases
from readiness.two_tenants import TENANT  # feature: row, rls, schema

PROJECT = Path(__file__).resolve().parent.parent


def server(variable: str) -> str:
    """The address of a server, from a variable of the environment."""
    value = os.environ.get(variable, "")
    if not value or value.startswith("memory:"):
        pytest.fail(f"{variable} names no server: run `make test`, which starts what is needed")
    return value


@pytest.fixture(scope="session")
def migrated() -> Iterator[str]:
    """A database with the schema, to be copied."""
    databases = Databases(server("DATABASE_URL"))
    url = databases.create()
    list(Migrator(url, folder=PROJECT / "migrations").up())
    add_tenant(url, TENANT)  # feature: row, rls, schema
    yield url
    databases.drop(url)


# feature: row, rls, schema {
def add_tenant(url: str, tenant: UUID) -> None:
    """Register a tenant, and make it ready for work."""
    Tenants(url).add(tenant, f"tenant {tenant}")
    list(Migrator(url, folder=PROJECT / "migrations").up())  # feature: schema


@pytest.fixture
def tenant() -> Iterator[None]:
    """Whose data a test works with that calls the manager itself."""
    with tenant_scope(TENANT):
        yield


# feature: row, rls, schema }


@pytest.fixture
def database_url(migrated: str) -> Iterator[str]:
    """A database of this test alone, migrated and empty."""
    databases = Databases(server("DATABASE_URL"))
    url = databases.create(template=migrated)
    yield url
    databases.drop(url)


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings for one process in memory, with waits that suit a test."""
    return SERVICE.load_settings(
        _env_file=None,
        environment="test",
        database_url=database_url,
        broker_url="memory://",
        listen_host="127.0.0.1",
        operations_port=0,
        retry_ladder=(0.2, 0.3),
        relay_poll=0.1,
    )
