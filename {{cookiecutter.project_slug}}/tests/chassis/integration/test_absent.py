"""What is not there is seen by whoever runs."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, consuming, eventually, send, sold
from tests.chassis.integration.outbox_events import metric


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """The service on RabbitMQ."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


async def test_a_queue_that_nobody_consumes_is_seen(service: Service) -> None:
    """Its messages and consumers are counted by a process that has neither; `/ready` tells."""
    watch, main = service.topology_watch, service.topology.main.name
    await send(service, sold(), sold())

    async def seen(messages: int, consumers: int) -> bool:
        await watch.look()
        shown = [metric(service, f"queue_{each}", queue=main) for each in ("messages", "consumers")]
        return shown == [messages, consumers]

    await eventually(lambda: seen(2, 0))
    assert await watch.check() == f"2 messages in {main}, no consumer"
    async with consuming(service):
        await eventually(lambda: seen(0, 1))
        assert await watch.check() is None


async def test_in_an_outage_nobody_knows(service: Service) -> None:
    """The numbers of before would look as if all was well."""
    await service.topology_watch.look()
    assert metric(service, "queue_consumers") == 0

    async def inspect(exchange: str, queues: Any) -> Any:
        raise BrokerUnavailable("there is no connection")

    service.broker.inspect = inspect  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(service.topology_watch.run())
        for each in ("queue_messages", "queue_consumers"):
            await eventually(lambda: math.isnan(metric(service, each)))  # noqa: B023
        watching.cancel()


async def test_each_part_that_runs_gives_signs_of_life(service: Service) -> None:
    """Again and again; a part that does not run gives none, and is missed by its absence."""

    def beats() -> dict[str, float]:
        (family,) = service.metrics.part_heartbeat.collect()
        return {sample.labels["part"]: sample.value for sample in family.samples}

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.publish(stop))
        await eventually(lambda: beats().keys() == {"relay"})
        group.create_task(service.consume(stop))
        every = {"relay", "consumer", "suspects", "archiver"}
        await eventually(lambda: beats().keys() == every)
        first = beats()
        await send(service, sold(lines=[]))  # a dead letter: the archiver has something to do
        await eventually(lambda: all(beats()[part] > first[part] for part in every))
        stop.set()
