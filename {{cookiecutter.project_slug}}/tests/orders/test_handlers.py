"""What becomes of the messages of this slice: of one, of the same twice, of many at once."""

from uuid import UUID  # feature: row, rls, schema

import peewee

from acme_orders.chassis.settings import ChassisSettings  # feature: row, rls, schema
from acme_orders.chassis.testing import ServiceUnderTest
from acme_orders.orders.messages import OrderAccepted, OrderPlaced
from acme_orders.orders.models import AuditEntry, Customer
from acme_orders.orders.repository import LineDetails, Orders

from tests.conftest import add_tenant  # feature: row, rls, schema
from tests.orders.examples import line, order

ADA = UUID(int=0xADA)  # feature: row, rls, schema


async def column(service: ServiceUnderTest, field: peewee.Field) -> list[object]:
    """What is committed in a column, for tables that the repository has no query for."""
    async with service.transaction():
        rows = await service.manager.fetch(field.model.select(field).order_by(field))
    return [getattr(row, field.name) for row in rows]


async def test_an_order_is_stored_and_announced(service: ServiceUnderTest, orders: Orders) -> None:
    """In one transaction: the customer, the order, its lines, the audit entry, the event."""
    placed = order(lines=[line(2, 450), line(1, 99)])
    assert (await service.process(placed)).status == "done"

    async with service.transaction():
        found = await orders.by_id(placed.order_id)
    assert found is not None
    assert (found.status, found.currency, found.total_cents) == ("accepted", "EUR", 999)
    assert found.lines == [LineDetails(1, "TEA-1", 2, 450), LineDetails(2, "TEA-1", 1, 99)]
    assert await column(service, Customer.email) == ["ada@example.com"]
    assert await column(service, AuditEntry.event_type) == ["order.accepted"]
    assert service.published(OrderAccepted) == [
        OrderAccepted(order_id=placed.order_id, total_cents=999)
    ]


async def test_the_same_message_counts_once(service: ServiceUnderTest) -> None:
    """RabbitMQ may deliver it again: the inbox knows it."""
    message = service.message(order())
    assert (await service.process(message)).status == "done"
    assert (await service.process(message)).status == "duplicate"
    assert len(service.published(OrderAccepted)) == 1


async def test_the_same_order_in_another_message_counts_once(service: ServiceUnderTest) -> None:
    """Its id is a key of the business: the first one stands, and is announced once."""
    first, again = order(1), order(1, currency="USD", customer_email="bob@example.com")
    for placed in (first, again):
        assert (await service.process(placed)).status == "done"
    assert service.published(OrderAccepted) == [
        OrderAccepted(order_id=first.order_id, total_cents=900)
    ]
    assert len(await column(service, AuditEntry.id)) == 1


async def test_other_content_under_a_known_id_is_a_dead_letter(service: ServiceUnderTest) -> None:
    """Nobody can tell which of the two was meant, so nothing of the second is stored."""
    await service.process(service.message(order(1), identity="message-1"))
    outcome = await service.process(service.message(order(2), identity="message-1"))
    assert (outcome.status, outcome.reason) == ("dead_lettered", "payload_mismatch")
    assert [each.order_id.int for each in service.published(OrderAccepted)] == [1]


async def test_a_message_that_is_no_order_is_a_dead_letter(service: ServiceUnderTest) -> None:
    """Its error says what is wrong."""
    body = {**OrderPlaced.example(), "lines": []}
    outcome = await service.process(service.message(body, type_="order.placed"))
    assert (outcome.status, outcome.reason) == ("dead_lettered", "malformed")
    assert "lines" in str(outcome.error)


async def test_many_at_once_are_the_same_as_one_by_one(service: ServiceUnderTest) -> None:
    """Under load the handler of many is called: each order is announced, each customer is one."""
    emails = ["ada@example.com", "bob@example.com", "ada@example.com"]
    placed = [order(number, customer_email=email) for number, email in enumerate(emails)]
    outcomes = await service.process_all([service.message(each) for each in [*placed, placed[0]]])
    assert [each.status for each in outcomes] == ["done"] * 4
    assert [each.order_id.int for each in service.published(OrderAccepted)] == [0, 1, 2]
    assert await column(service, Customer.email) == ["ada@example.com", "bob@example.com"]


# feature: row, rls, schema {
async def test_an_order_is_its_tenants_alone(
    service: ServiceUnderTest, settings: ChassisSettings, orders: Orders
) -> None:
    """Another tenant finds nothing, and may have an order with the same id."""
    add_tenant(settings.database_url, ADA)
    assert (await service.process(order(1))).status == "done"
    ada = service.of(ADA)
    async with ada.transaction():
        assert await orders.page() == []
    assert (await ada.process(order(1, lines=[line(1, 5)]))).status == "done"
    assert [each.total_cents for each in ada.published(OrderAccepted)] == [5]
    assert [each.total_cents for each in service.published(OrderAccepted)] == [900]


# feature: row, rls, schema }
