"""A process killed at any point leads to one order and one event, after a restart."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from acme_orders.app import Service
from acme_orders.messaging.topology import Queue, Topology
from acme_orders.orders.messages import ORDER_ACCEPTED

from tests.conftest import PROJECT, Connect, count, eventually, placed, send

BEFORE_COMMIT = "acme_orders.messaging.outbox:Outbox.add"
BEFORE_ACK = "acme_orders.messaging.rabbitmq:RabbitDelivery.ack"
BEFORE_PUBLISH = "acme_orders.messaging.rabbitmq:RabbitBroker.publish"
BEFORE_FORGETTING = "acme_orders.messaging.outbox:Pending.published"


@asynccontextmanager
async def process(service: Service, broker_url: str, *command: str) -> AsyncIterator[Process]:
    """A process of the service, killed at the end if it still runs."""
    settings = service.settings
    environment = {
        **os.environ,
        "ENVIRONMENT": "test",
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": "0",
        "HTTP_PORT": "0",
        "RELAY_POLL": "100ms",
        "RELAY_LEASE": "500ms",
        "RETRY_LADDER": "200ms,300ms",
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=PROJECT, env=environment, stderr=PIPE
    )
    assert started.stderr is not None
    drain = asyncio.create_task(started.stderr.read())
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
        sys.stderr.write((await drain).decode())


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """Our own view of the same database and broker, with a listener to what is announced."""
    async with connect(broker_url=broker_url) as connected:
        listener = Queue("listener", bindings=(ORDER_ACCEPTED,))
        dead_letters = connected.topology.dead_letters
        await connected.broker.declare(Topology("events", listener, (), dead_letters))
        yield connected


async def killed_at(point: str, service: Service, broker_url: str) -> None:
    """Send an order to a process that dies there."""
    await send(service, placed())
    async with process(
        service, broker_url, "-m", "tests.acceptance.killed_at", point, "run"
    ) as started:
        assert await asyncio.wait_for(started.wait(), 60) == -signal.SIGKILL


async def restarted(service: Service, broker_url: str) -> None:
    """Start it again and wait until all is done; then stop it as an orchestrator does."""
    command = ("-m", "acme_orders", "run")
    async with process(service, broker_url, *command) as started:
        await eventually(lambda: _quiet(service))
        started.terminate()
        assert await asyncio.wait_for(started.wait(), 60) == 0
    assert await service.broker.count(service.topology.main.name) == 0


async def _quiet(service: Service) -> bool:
    announced = await service.broker.count("listener")
    waiting = await service.broker.count(service.topology.main.name)
    return announced >= 1 and waiting == 0 and await count(service, "outbox") == 0


async def test_killed_between_commit_and_ack(service: Service, broker_url: str) -> None:
    """The effects are committed, the broker delivers again, and the inbox drops it."""
    await killed_at(BEFORE_ACK, service, broker_url)

    # This is what makes the point what its name says: committed, and not acknowledged.
    assert await count(service, "orders") == 1
    await eventually(lambda: _waits(service))

    await restarted(service, broker_url)
    assert await count(service, "orders") == 1
    assert await service.broker.count("listener") == 1


@pytest.mark.parametrize("point", [BEFORE_COMMIT, BEFORE_PUBLISH])
async def test_killed_before_commit_or_before_publish(
    point: str, service: Service, broker_url: str
) -> None:
    """Nothing is lost, and nothing happens twice."""
    await killed_at(point, service, broker_url)
    await restarted(service, broker_url)
    assert await count(service, "orders") == 1
    assert await service.broker.count("listener") == 1


async def test_killed_between_confirm_and_forgetting(service: Service, broker_url: str) -> None:
    """The event is published again under the same id; that is what its consumers' inbox is for."""
    await killed_at(BEFORE_FORGETTING, service, broker_url)
    await restarted(service, broker_url)
    assert await count(service, "orders") == 1
    assert await service.broker.count("listener") == 2


async def _waits(service: Service) -> bool:
    return await service.broker.count(service.topology.main.name) == 1
