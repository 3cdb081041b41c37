"""Messages that were set aside, on their way into PostgreSQL and back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from acme_orders.chassis.dead_letters.replay import Outcome, Replay
from acme_orders.chassis.messaging.attributes import ATTEMPT
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema

from tests.chassis.conftest import count, eventually, sold


@asynccontextmanager
async def archiving(service: Service) -> AsyncIterator[None]:
    """The archiver running; at the end it is drained."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as parts:
        parts.create_task(service.archiver.run(stop))
        try:
            yield
        finally:
            stop.set()


def failed(**changes: Any) -> Message:
    """A good message with what is written on one that is set aside."""
    headers = {
        **sold().headers,
        "dl-id": str(uuid4()),
        "dl-reason": "refused",
        "dl-error-type": "Refused",
        "dl-error-message": "closed on Sundays",
        "dl-attempts": 3,
        "dl-queue": "acme-orders",
        "dl-fingerprint": "f-1",
        "dl-failed-at": "2026-01-31T09:30:00.000+00:00",
        ATTEMPT: 3,
    }
    return replace(sold(), **{"headers": headers, **changes})


async def set_aside(service: Service, *messages: Message) -> None:
    """Put messages into the dead-letter queue."""
    queue = service.topology.dead_letters.name
    for message in messages:
        await service.broker.publish(message, exchange=DEFAULT_EXCHANGE, routing_key=queue)


async def archived(service: Service, *messages: Message) -> None:
    """Put messages into the dead-letter queue, and wait until all are stored."""
    before = await count(service, "dead_letters")
    async with archiving(service):
        await set_aside(service, *messages)
        await eventually(lambda: grown(service, before + len(messages)))


async def grown(service: Service, wanted: int) -> bool:
    """Whether so many are stored."""
    return await count(service, "dead_letters") == wanted


async def drained(service: Service) -> bool:
    """Whether none waits in the dead-letter queue."""
    return await service.broker.count(service.topology.dead_letters.name) == 0


def identity_of(message: Message) -> UUID:
    """The id of the row that a message becomes."""
    return UUID(message.headers["dl-id"])


@in_system_scope("test")  # feature: row, rls, schema
async def replayed(service: Service, *identities: UUID) -> list[Outcome]:
    """Replay these, one after the other."""
    sender = Replay(
        queue=service.topology.main.name,
        broker=service.broker,
        manager=service.manager,
        dead_letters=service.dead_letters,
        set_aside=service.relay_queries.set_aside,
        rate=1000,
    )
    return [await sender.send(each) for each in identities]


@in_system_scope("test")  # feature: row, rls, schema
async def looked_up(service: Service, find: Callable[..., Awaitable[Any]], *given: Any) -> Any:
    """What a query of the repository finds."""
    async with service.manager.transaction("test", read_only=True):
        return await find(service.dead_letters, *given)
