"""What the tests about blame share: orders that meet something, and what became of all orders."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, Received
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE
from acme_orders.chassis.process.service import Service
from acme_orders.orders.messages import ORDER_PLACED, OrderPlaced
from acme_orders.orders.repository import Orders

from tests.conftest import count, placed, rows, settled

Meet = Callable[[Orders, str], Awaitable[object]]


def bad(mark: str = "BAD", **changes: object) -> Message:
    """An order that meets something."""
    line = {"sku": mark, "quantity": 1, "unit_price_cents": 1}
    return placed(lines=[line], **changes)


def mark_of(order: OrderPlaced) -> str:
    """What it was made with by `bad`; that of a good one says nothing."""
    return "" if order.lines[0].sku.startswith("TEA") else order.lines[0].sku


def meeting(service: Service, meet: Meet, *, together: bool = False) -> None:
    """Have bad orders meet something before they are stored, in a handler of many as well."""
    good, orders = service.handlers[ORDER_PLACED], Orders(service.manager)

    async def handle(order: OrderPlaced) -> None:
        if mark := mark_of(order):
            await meet(orders, mark)
        await good.handle(order)

    async def handle_all(received: Sequence[Received[OrderPlaced]]) -> None:
        for each in received:
            if mark := mark_of(each.payload):
                await meet(orders, mark)
        assert good.handle_all is not None
        await good.handle_all(received)

    service.handlers[ORDER_PLACED] = Handler(OrderPlaced, handle, handle_all if together else None)


@dataclass(frozen=True)
class Fates:
    """What became of messages: how many were stored, and the reasons of the dead letters."""

    orders: int
    dead: Mapping[str, int]


async def fates(service: Service) -> Fates:
    """As they are committed."""
    found = await rows(service, "SELECT reason, count(*) FROM dead_letters GROUP BY 1")
    return Fates(await count(service, "orders"), dict(found))


async def ended(service: Service, orders: int, dead: int) -> bool:
    """Whether so many orders are stored and so many dead letters are in the archive."""
    found = await fates(service)
    return (found.orders, sum(found.dead.values())) == (orders, dead)


async def put(service: Service, *messages: Message) -> None:
    """Send messages straight to the queue, whatever their type is."""
    for each in messages:
        queue = service.topology.main.name
        await service.broker.publish(each, exchange=DEFAULT_EXCHANGE, routing_key=queue)


def of_type(type_: str, message: Message) -> Message:
    """The same as a message of another type."""
    return replace(message, type=type_)


def total(message: Message) -> int:
    """The total of an order, as the service computes it."""
    return OrderPlaced.model_validate(json.loads(message.body)).total_cents


def untouched(service: Service) -> bool:
    """Whether no message has spent an attempt."""
    return not (settled(service, "retried") or settled(service, "dead_lettered"))
