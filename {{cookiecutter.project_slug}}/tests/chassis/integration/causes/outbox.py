"""What happens to events in the outbox."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import eventually, rows
from tests.chassis.integration.causes import HOUR_AGO, moves, value
from tests.chassis.integration.outbox_events import HEARD, POISON, UNHEARD, add, relays, smuggle


@moves("outbox_pending", "outbox_oldest_seconds")
async def events_wait(service: Service) -> AsyncIterator[None]:
    """For an hour already."""
    await smuggle(service, available_at="now() + interval '1 hour'", created_at=HOUR_AGO)
    async with relays(service):
        yield


@moves(
    *("outbox_parked", "outbox_parked_types", "outbox_parked_oldest_seconds"),
    *("outbox_publish_failures", "outbox_dropped"),
    unheard_retention=4000,
)
async def nobody_listens_to_events(service: Service) -> AsyncIterator[None]:
    """They are parked, and those that are too old are dropped."""
    await smuggle(service, type=f"'{UNHEARD}'", created_at=HOUR_AGO)
    async with relays(service):
        await eventually(lambda: value(service, "outbox_publish_failures_total") > 0)
    await smuggle(
        service,
        type=f"'{UNHEARD}'",
        available_at="'infinity'",
        created_at="now() - interval '2 hours'",
    )
    async with relays(service):
        yield


@moves("outbox_set_aside")
async def an_event_can_never_be_published(service: Service) -> AsyncIterator[None]:
    """It goes to the dead letters."""
    await smuggle(service, **POISON["a body above the limit"])
    async with relays(service):
        yield


@moves("relay_paused")
async def a_part_of_the_relay_fails(service: Service) -> AsyncIterator[None]:
    """It has lost a right."""
    real = service.relay_queries.backlog.parked

    async def parked() -> Any:
        raise DatabaseError("no right to do this")

    service.relay_queries.backlog.parked = parked  # type: ignore[method-assign]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.relay.run(stop))
        yield
        stop.set()
    service.relay_queries.backlog.parked = real  # type: ignore[method-assign]


@moves("outbox_leases_lost")
async def another_relay_is_quicker(service: Service) -> AsyncIterator[None]:
    """When the broker confirms an event, its row is gone."""
    await service.broker.declare("events", [Queue("listener", bindings=(HEARD,))])
    await add(service, (HEARD, "one", 1))
    real = service.broker.publish

    async def publish(*args: Any, **more: Any) -> None:
        await real(*args, **more)
        await rows(service, "DELETE FROM outbox")

    service.broker.publish = publish  # type: ignore[method-assign]
    await service.relay.run_once()
    yield
