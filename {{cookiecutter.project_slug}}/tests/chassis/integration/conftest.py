"""What tests share: each driver, a login, what Peewee itself does, a database without a schema."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.system_role import SYSTEM_ROLE  # feature: rls

from dev.databases import Databases
from readiness.scratch import rows_of
from tests.chassis.conftest import PROJECT
from tests.chassis.integration.fields import TYPES
from tests.chassis.integration.hazards_bare import DRIVERS, driver_of, use_driver
from tests.chassis.integration.migrating import emptied, empty_database
from tests.chassis.integration.reference import Both, Reference


@pytest.fixture(scope="module", params=DRIVERS)
def both(request: pytest.FixtureRequest, migrated: str) -> Iterator[Both]:
    """A database with the types of the fields."""
    databases = Databases(migrated)
    url = databases.create(template=migrated)
    rows_of(url, TYPES)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as loop:
        use_driver(request.param, patch)
        psycopg3 = driver_of(request.param).DriverError.__module__.partition(".")[0] == "psycopg"
        with closing(Reference(url, psycopg3=psycopg3)) as reference:
            manager = Manager(DatabaseSettings(database_url=url, pool_size=1), Metrics())
            loop.run(manager.__aenter__())
            yield Both(reference, manager, loop)
            loop.run(manager.__aexit__())
    databases.drop(url)


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    """A database for all tests of a module, one after the other; `emptied` makes it so again."""
    with empty_database() as url:
        yield url


@pytest.fixture(params=DRIVERS)
def blank(request: pytest.FixtureRequest, empty: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same without what the test before has left, for each driver."""
    use_driver(request.param, monkeypatch)
    return emptied(empty)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each driver."""
    use_driver(request.param, monkeypatch)
    monkeypatch.chdir(PROJECT)
    return str(request.param)


@pytest.fixture
def login(database_url: str) -> Iterator[str]:
    """A role that may act as the service."""
    name = f"login_{uuid4().hex}"
    rows_of(database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE {SERVICE_ROLE}")
    rows_of(database_url, f"GRANT {SYSTEM_ROLE} TO {name}")  # feature: rls
    yield name
    rows_of(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")
