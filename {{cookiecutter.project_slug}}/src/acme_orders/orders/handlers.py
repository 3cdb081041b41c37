"""What is done with each message. A handler runs inside a transaction that commits after it.

Await everything in the handler itself: a child task would work outside the transaction, and is
refused. Raise `Refused` to say no for good and `TryLater` for another attempt.
"""

import itertools
from collections.abc import Sequence

from acme_orders.chassis.messaging.envelope import Received
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.orders.messages import (
    ORDER_ACCEPTED,
    OrderAccepted,
    OrderPlaced,
)
from acme_orders.orders.repository import Orders


async def place_order(order: OrderPlaced, *, orders: Orders, outbox: Outbox) -> None:
    """Accept an order and announce it, once."""
    new = orders.add(order)
    await outbox.add(ORDER_ACCEPTED, _accepted(order), provided=new)


async def place_orders(
    received: Sequence[Received[OrderPlaced]], *, orders: Orders, outbox: Outbox
) -> None:
    """Do the same for many orders at once."""
    new = await orders.add_all([message.payload for message in received])
    for message in itertools.compress(received, new):
        accepted = _accepted(message.payload)
        await outbox.add(ORDER_ACCEPTED, accepted, correlation_id=message.correlation_id)


def _accepted(order: OrderPlaced) -> OrderAccepted:
    return OrderAccepted(order_id=order.order_id, total_cents=order.total_cents)
