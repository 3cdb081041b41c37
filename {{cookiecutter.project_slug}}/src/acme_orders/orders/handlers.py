"""What is done with each message. A handler runs inside a transaction that commits after it.

Await everything in the handler itself: a child task would work outside the transaction, and is
refused. Raise `Refused` to say no for good and `TryLater` for another attempt.
"""

from acme_orders.database.repository import Insertion
from acme_orders.messaging.outbox import Outbox
from acme_orders.orders.messages import (
    ORDER_ACCEPTED,
    OrderAccepted,
    OrderPlaced,
)
from acme_orders.orders.repository import Orders


async def place_order(order: OrderPlaced, *, orders: Orders, outbox: Outbox) -> None:
    """Accept an order and announce it, once."""
    if await orders.add(order) is Insertion.INSERTED:
        accepted = OrderAccepted(order_id=order.order_id, total_cents=order.total_cents)
        await outbox.add(ORDER_ACCEPTED, accepted)
