"""What tests share: a database of their own, a virtual host of their own, and the service on both.

The servers come from `make test`; to run some tests alone:
`python -m dev.servers --broker rabbitmq -- python -m pytest tests/integration -k NAME`.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import Service, connected
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Slice
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import tenant_scope  # feature: row, rls, schema
from acme_orders.orders.messages import ORDER_PLACED, OrderPlaced
from acme_orders.service import SERVICE

from dev.databases import Databases
from dev.virtual_hosts import VirtualHosts
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema

PROJECT = Path(__file__).resolve().parent.parent
Connect = Callable[..., AbstractAsyncContextManager[Service]]
Make = Callable[[Chassis[Any]], Slice]


def _server(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value or value.startswith("memory:"):
        pytest.fail(f"{variable} names no server: run `make test`, which starts what is needed")
    return value


@pytest.fixture(scope="session")
def migrated() -> Iterator[str]:
    """A database with the schema, to be copied."""
    databases = Databases(_server("DATABASE_URL"))
    url = databases.create()
    list(Migrator(url, folder=PROJECT / "migrations").up())
    Tenants(url).add(TENANT, "test")  # feature: row, rls, schema
    list(Migrator(url, folder=PROJECT / "migrations").up())  # feature: schema
    yield url
    databases.drop(url)


# feature: row, rls, schema {
@pytest.fixture
def tenant() -> Iterator[None]:
    """Whose data a test works with that calls the manager itself."""
    with tenant_scope(TENANT):
        yield


# feature: row, rls, schema }


@pytest.fixture
def database_url(migrated: str) -> Iterator[str]:
    """A database of this test alone, migrated and empty."""
    databases = Databases(_server("DATABASE_URL"))
    url = databases.create(template=migrated)
    yield url
    databases.drop(url)


@pytest.fixture
def broker_url() -> Iterator[str]:
    """A virtual host of this test alone, on a real RabbitMQ."""
    hosts = VirtualHosts(_server("BROKER_URL"), _server("RABBITMQ_MANAGEMENT_URL"))
    url = hosts.create()
    yield url
    hosts.drop(url)


@pytest.fixture
def settings(database_url: str) -> ChassisSettings:
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


async def eventually(condition: Callable[[], Any], *, within: float = 30) -> None:
    """Wait until a condition holds; fail with its last value after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def placed(**changes: Any) -> Message:
    """A message that places a new order."""
    body = {**OrderPlaced.example(), "order_id": str(uuid4())} | changes
    return Message(
        json.dumps(body).encode(),
        str(uuid4()),
        ORDER_PLACED,
        "test",
        headers={"tenant": str(TENANT)},  # feature: row, rls, schema
    )


async def send(service: Service, *messages: Message) -> None:
    """Publish messages as another service would."""
    for message in messages:
        await service.broker.publish(message, exchange="events", routing_key=ORDER_PLACED)


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
