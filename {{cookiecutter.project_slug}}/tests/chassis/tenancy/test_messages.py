# feature: row, rls, schema
"""Messages of several tenants in one queue; on RabbitMQ and in memory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from acme_orders.chassis.errors import TryLater
from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, consuming, eventually, send, settled, sold
from tests.chassis.slices.sales.messages import SALE_BOOKED, SALE_MADE, SaleMade
from tests.chassis.tenancy.several import ADA, BOB, EVE, NOBODY, owned, register, sale

HEADER = "cloudEvents:tenant"


@pytest.fixture(params=["memory", "rabbitmq"])
async def service(
    request: pytest.FixtureRequest, connect: Connect, database_url: str
) -> AsyncIterator[Service]:
    """The service on either broker, with three tenants and somebody who listens to it."""
    register(database_url, [ADA, BOB, EVE])
    url = "memory://" if request.param == "memory" else request.getfixturevalue("broker_url")
    async with AsyncExitStack() as stack:
        connected = await stack.enter_async_context(connect(broker_url=url))
        listener = Queue("listener", bindings=(SALE_BOOKED,))
        await connected.broker.declare("events", [listener])
        yield connected


def sold_by(tenant: UUID, total_cents: int, **changes: Any) -> Message:
    """A message that places the order that everybody places, under an id that others use too."""
    body = sale(total_cents).model_dump_json().encode()
    message = replace(sold(), body=body, message_id="1", headers={HEADER: str(tenant)})
    return replace(message, **changes)


async def taken(service: Service, queue: str, count: int) -> list[Delivery]:
    """So many deliveries of a queue, to be settled together; later ones are not for us."""
    deliveries: list[Delivery] = []
    taking = await service.broker.consume(queue, prefetch=count, deliver=deliveries.append)
    await eventually(lambda: len(deliveries) == count)
    await taking.cancel()
    return deliveries


def totals(service: Service) -> dict[UUID, list[tuple[Any, ...]]]:
    """What the sales of each tenant cost."""
    return owned(service.settings.database_url, "total_cents", "sales")


async def test_a_batch_is_stored_by_tenant(service: Service) -> None:
    """Three tenants in one batch, with the same ids: each row is that of its own tenant."""
    another = sale(4, sale_id=uuid4()).model_dump_json().encode()
    await send(
        service,
        sold_by(ADA, 1),
        sold_by(BOB, 2),
        sold_by(EVE, 3),
        sold_by(ADA, 4, body=another, message_id="2"),
    )
    batch = await taken(service, service.topology.main.name, 4)
    await service.consumer.process(batch)
    assert settled(service, "done") == 4
    assert {tenant: sorted(found) for tenant, found in totals(service).items()} == {
        ADA: [(1,), (4,)],
        BOB: [(2,)],
        EVE: [(3,)],
    }
    buyers = owned(service.settings.database_url, "email", "buyers")
    assert buyers == {tenant: [("ada@example.com",)] for tenant in (ADA, BOB, EVE)}


async def test_an_event_carries_the_tenant_of_its_cause(service: Service) -> None:
    """From the message by way of the outbox to whoever listens."""
    async with consuming(service):
        await send(service, sold_by(ADA, 1), sold_by(BOB, 2))
        await eventually(lambda: settled(service, "done") == 2)
    assert await service.relay.run_once() == 2
    events = [delivery.message for delivery in await taken(service, "listener", 2)]
    by_tenant = {event.headers[HEADER]: event.body for event in events}
    assert by_tenant.keys() == {str(ADA), str(BOB)}
    assert b'"total_cents":1' in by_tenant[str(ADA)]
    assert b'"total_cents":2' in by_tenant[str(BOB)]


@pytest.mark.parametrize(
    "headers",
    [
        {"tenant": str(BOB)},
        {"cloudEvents:tenant": str(BOB)},
        {"cloudEvents_tenant": str(BOB)},
        {"cloudEvents:tenant": str(BOB).upper(), "tenant": str(ADA)},
    ],
)
async def test_a_tenant_stands_in_a_header(service: Service, headers: Mapping[str, str]) -> None:
    """A plain one, or that of CloudEvents, which counts if there are both."""
    async with consuming(service):
        await send(service, sold_by(BOB, 1, headers=headers))
        await eventually(lambda: settled(service, "done") == 1)
    assert totals(service) == {BOB: [(1,)]}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "malformed"),
        ({HEADER: ""}, "malformed"),
        ({HEADER: "ada"}, "malformed"),
        ({HEADER: 7}, "malformed"),
        ({HEADER: "None"}, "malformed"),
        ({HEADER: "ada", "tenant": str(ADA)}, "malformed"),
        ({HEADER: str(NOBODY)}, "unknown_tenant"),
    ],
)
async def test_a_message_of_nobody_is_a_dead_letter_and_hurts_no_other(
    service: Service, headers: Mapping[str, Any], reason: str
) -> None:
    """Each has its reason, and the good ones in the batch are processed."""
    await send(service, sold_by(ADA, 1), sold_by(BOB, 2, headers=headers), sold_by(EVE, 3))
    batch = await taken(service, service.topology.main.name, 3)
    await service.consumer.process(batch)
    assert (settled(service, "done"), settled(service, "dead_lettered")) == (2, 1)
    assert totals(service) == {ADA: [(1,)], EVE: [(3,)]}
    (letter,) = await taken(service, service.topology.dead_letters.name, 1)
    assert letter.message.headers["dl-reason"] == reason
    assert "tenant" in letter.message.headers["dl-error-message"]


async def test_several_messages_of_an_unknown_tenant_are_dead_letters(service: Service) -> None:
    """All of them, and nothing of them stays: once the tenant is there they can be put back."""
    messages = [sold_by(NOBODY, 1, message_id=str(number)) for number in range(3)]
    await send(service, sold_by(ADA, 1), *messages)
    await service.consumer.process(await taken(service, service.topology.main.name, 4))
    assert (settled(service, "done"), settled(service, "dead_lettered")) == (1, 3)
    register(service.settings.database_url, [NOBODY])
    letters = await taken(service, service.topology.dead_letters.name, 3)
    async with consuming(service):
        await send(service, letters[0].message)
        await eventually(lambda: settled(service, "done") == 2)
    assert totals(service) == {ADA: [(1,)], NOBODY: [(1,)]}


async def test_an_id_is_known_to_its_own_tenant_only(service: Service) -> None:
    """The same id is two messages for two tenants, and a duplicate within one."""
    async with consuming(service):
        await send(service, sold_by(ADA, 1), sold_by(BOB, 2))
        await eventually(lambda: settled(service, "done") == 2)
        await send(service, sold_by(ADA, 1), sold_by(BOB, 2), sold_by(BOB, 2))
        await eventually(lambda: settled(service, "duplicate") == 3)
    assert totals(service) == {ADA: [(1,)], BOB: [(2,)]}
    entries = owned(service.settings.database_url, "id", "inbox")
    assert entries == {ADA: [("1",)], BOB: [("1",)]}


async def test_a_retry_stays_with_its_tenant(service: Service) -> None:
    """The failure of one tenant's message has no effect on another's in the same batch."""
    original, attempts = service.handlers[SALE_MADE].handle, 0

    async def once_too_early(sold: SaleMade) -> None:
        nonlocal attempts
        attempts += sold.total_cents == 2
        if sold.total_cents == 2 and attempts == 1:
            raise TryLater("not yet")
        await original(sold)

    service.handlers[SALE_MADE] = Handler(SaleMade, once_too_early)
    async with consuming(service):
        await send(service, sold_by(ADA, 1), sold_by(BOB, 2))
        await eventually(lambda: settled(service, "done") == 2)
    assert settled(service, "retried") == 1
    assert totals(service) == {ADA: [(1,)], BOB: [(2,)]}
