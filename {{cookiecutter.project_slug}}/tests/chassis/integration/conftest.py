"""What tests share that compare with Peewee itself, and those that write migrations."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.observability.metrics import Metrics

from dev.databases import Databases
from readiness.scratch import rows_of
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
