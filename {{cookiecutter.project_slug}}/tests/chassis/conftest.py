"""The service of these tests on a database and a virtual host of each test's own."""

import asyncio
import atexit
import json
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest
import structlog

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.http.server import listen, serve  # feature: http_api
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Slice
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema

from dev.databases import Databases
from dev.postgres import Postgres
from dev.rabbitmq import RabbitMQ
from dev.virtual_hosts import VirtualHosts
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade
from tests.conftest import server

PROJECT = Path(__file__).resolve().parents[2]
Connect = Callable[..., AbstractAsyncContextManager[Service]]
Make = Callable[[Chassis[Any]], Slice]


def migrate(url: str) -> None:
    """Give a database the schema, and the tenant that messages of tests belong to."""
    apply_migrations(url)
    Tenants(url).add(TENANT, "test")  # feature: row, rls, schema
    apply_migrations(url)  # feature: schema


def apply_migrations(url: str) -> None:
    """Those of the project, and those of the slice that only these tests have."""
    list(Migrator(url, folder=home() / "migrations").up())


@cache
def home() -> Path:
    """A folder with all these migrations, in which commands work."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    for each in (PROJECT, Path(__file__).parent):
        shutil.copytree(each / "migrations", folder / "migrations", dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def migrated() -> Iterator[str]:
    """A database with the schema, to be copied."""
    databases = Databases(server("DATABASE_URL"))
    url = databases.create()
    migrate(url)
    yield url
    databases.drop(url)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Else a limiter tells in a later test what it kept back, or a library what went on before."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.end(0)
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def broker_url() -> Iterator[str]:
    """A virtual host of this test alone, on a real RabbitMQ."""
    hosts = VirtualHosts(server("BROKER_URL"), server("RABBITMQ_MANAGEMENT_URL"))
    url = hosts.create()
    yield url
    hosts.drop(url)


@pytest.fixture
def settings(settings: ChassisSettings) -> ChassisSettings:
    """Settings of every service, without those of the project's own slices."""
    return ChassisSettings(**dict(settings))


@pytest.fixture
def connect(settings: ChassisSettings, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Connect the service with more slices, if any; keyword arguments change its settings."""
    monkeypatch.chdir(PROJECT)

    @asynccontextmanager
    async def connect(*slices: Make, **changes: Any) -> AsyncIterator[Service]:
        definition = replace(SERVICE, slices=(*SERVICE.slices, *slices))
        async with connected(definition, settings.model_copy(update=changes), Metrics()) as service:
            yield service

    return connect


@asynccontextmanager
async def consuming(service: Service) -> AsyncIterator[None]:
    """The consumer running; at the end it is drained."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as parts:
        parts.create_task(service.consumer.run(stop))
        try:
            yield
        finally:
            stop.set()


@contextmanager
def frozen(server: Postgres | RabbitMQ) -> Iterator[None]:
    """All its processes are there, and none of them does anything."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


def impatient(manager: Manager, seconds: float) -> None:
    """From now on it waits so long for a connection; the first one may take longer to open."""
    connections = manager._connections
    changed = {"acquire_timeout": seconds}
    connections.settings = connections.settings.model_copy(update=changed)


# feature: http_api {
@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    """Where the API of the `service` of a module answers."""
    listening, stop = listen("127.0.0.1", 0, "HTTP_PORT"), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(service.api(), listening, stop))
        yield listening.getsockname()[1]
        stop.set()


# feature: http_api }
async def eventually(condition: Callable[[], Any], *, within: float = 90) -> None:
    """Wait until a condition holds; fail with its last value after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def sold(**changes: Any) -> Message:
    """A message about a new sale."""
    body = {**SaleMade.example(), "sale_id": str(uuid4())} | changes
    return Message(
        json.dumps(body).encode(),
        str(uuid4()),
        SALE_MADE,
        "test",
        headers={"tenant": str(TENANT)},  # feature: row, rls, schema
    )


async def send(service: Service, *messages: Message) -> None:
    """Publish messages as another service would."""
    for message in messages:
        await service.broker.publish(message, exchange="events", routing_key=SALE_MADE)


def settled(service: Service, outcome: str) -> int:
    """How many messages ended like this."""
    count = 0.0
    for metric in service.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "messages_processed_total" and sample.labels["outcome"] == outcome:
                count += sample.value
    return int(count)


async def count(service: Service, table: str) -> int:
    """How many rows a table has."""
    ((found,),) = await rows(service, f"SELECT count(*) FROM {table}")
    return int(found)


async def rows(service: Service, sql: str) -> list[tuple[Any, ...]]:
    """What is committed, on a connection of its own."""
    return await asyncio.to_thread(rows_of, service.settings.database_url, sql)
