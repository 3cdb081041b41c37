"""A service of one slice, for tests of the chassis."""

import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import peewee
import pytest
from peewee_async.utils import sort_models

from acme_orders.chassis import testing
from acme_orders.chassis.migrations.ddl import table_sql
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.testing import ServiceUnderTest

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.for_tests.examples import Make
from tests.chassis.slices.parcels.slice import parcels

Open = Callable[..., AbstractAsyncContextManager[ServiceUnderTest]]


def make_tables(url: str, slice_: str) -> None:
    """Make the tables of a slice, as its migration does."""
    module = importlib.import_module(f"tests.chassis.slices.{slice_}.models")
    models = [
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, peewee.Model)
        and each.__module__ == module.__name__
    ]
    for table in map(table_sql, sort_models(models)):
        for sql in (table.create(), *table.indexes, *table.policies):
            rows_of(url, sql)


@pytest.fixture
def open_service(settings: ChassisSettings) -> Open:
    """A service of one slice, on tables that are there or not."""

    @asynccontextmanager
    async def opened(make: Make, *, tables: str = "") -> AsyncIterator[ServiceUnderTest]:
        if tables:
            make_tables(settings.database_url, tables)
        async with testing.service(
            Definition("post", "Post", ChassisSettings, (make,)),
            settings,
            tenant=TENANT,  # feature: row, rls, schema
        ) as service:
            yield service

    return opened


@pytest.fixture
async def post(open_service: Open) -> AsyncIterator[ServiceUnderTest]:
    """The service of parcels."""
    async with open_service(parcels, tables="parcels") as service:
        yield service
