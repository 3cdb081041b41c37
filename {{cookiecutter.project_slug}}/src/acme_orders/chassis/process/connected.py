"""The service on its servers: PostgreSQL and the broker, connected and verified."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from acme_orders.chassis.database.access import SERVICE_ROLE, verify_access
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import DatabaseUnavailable
from acme_orders.chassis.messaging.broker import Broker
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import Service, assemble
from acme_orders.chassis.process.shutdown import closed_quickly
from acme_orders.chassis.rabbitmq import broker as rabbitmq
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.supervision import Supervisor
from acme_orders.chassis.tenancy.system_role import verify_system_role  # feature: rls


def database(name: str, settings: ChassisSettings, metrics: Metrics) -> Manager:
    """The manager of this service as it is configured."""
    return Manager(settings, metrics, role=SERVICE_ROLE, application=name)


@asynccontextmanager
async def message_broker(
    name: str, settings: ChassisSettings, metrics: Metrics, supervisor: Supervisor | None = None
) -> AsyncIterator[Broker]:
    """The broker that BROKER_URL names, connected."""
    if settings.broker_url.startswith("memory:"):
        yield MemoryBroker()
        return
    async with rabbitmq.connect(
        settings, service=name, metrics=metrics, supervisor=supervisor
    ) as broker:
        yield broker


async def verify(settings: ChassisSettings, manager: Manager) -> None:
    """Check that the schema and the role are those that this version was written for.

    Raises:
        ConfigurationError: migrations are pending, or the role may do too much.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    limit = settings.statement_timeout
    try:
        async with asyncio.timeout(limit):
            await asyncio.to_thread(Migrator(settings.session_url).verify)
    except TimeoutError as error:
        raise DatabaseUnavailable(
            f"no answer within {limit:g} s (STATEMENT_TIMEOUT): PostgreSQL or the network hangs"
        ) from error
    async with manager.connection() as lease:
        await verify_access(lease)
        await verify_system_role(lease)  # feature: rls


@asynccontextmanager
async def connected(
    definition: Definition[Any],
    settings: ChassisSettings,
    metrics: Metrics,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[Service]:
    """The service with its connections open, its schema verified and its topology declared.

    Raises:
        ConfigurationError: slices do not go together, migrations are pending, the role may do too
            much, PostgreSQL is too old, or RabbitMQ holds other queues of these names.
        DatabaseUnavailable: PostgreSQL does not answer.
        BrokerUnavailable: RabbitMQ does not answer.
    """
    name, supervisor = definition.name, supervisor or Supervisor(metrics)
    async with (
        closed_quickly(database(name, settings, metrics)) as manager,
        closed_quickly(message_broker(name, settings, metrics, supervisor)) as broker,
    ):
        await verify(settings, manager)
        service = assemble(
            definition,
            settings,
            metrics=metrics,
            manager=manager,
            broker=broker,
            supervisor=supervisor,
        )
        await broker.declare(service.topology.exchange, service.topology)
        yield service
