"""What is done with each message. A handler runs inside a transaction that commits after it.

Await everything in the handler itself: a child task would work outside the transaction, and is
refused. Raise `Refused` to say no for good and `TryLater` for another attempt.
"""

import itertools
from collections.abc import Sequence

from acme_orders.chassis.messaging.envelope import Received
from acme_orders.chassis.messaging.outbox import Outbox

from tests.chassis.slices.sales.messages import (
    SALE_BOOKED,
    SaleBooked,
    SaleMade,
)
from tests.chassis.slices.sales.repository import Sales


async def make_sale(sale: SaleMade, *, sales: Sales, outbox: Outbox) -> None:
    """Accept a sale and announce it, once."""
    new = sales.add(sale)
    await outbox.add(SALE_BOOKED, _booked(sale), provided=new)


async def make_sales(
    received: Sequence[Received[SaleMade]], *, sales: Sales, outbox: Outbox
) -> None:
    """Do the same for many sales at once."""
    new = await sales.add_all([message.payload for message in received])
    for message in itertools.compress(received, new):
        booked = _booked(message.payload)
        await outbox.add(SALE_BOOKED, booked, correlation_id=message.correlation_id)


def _booked(sale: SaleMade) -> SaleBooked:
    return SaleBooked(sale_id=sale.sale_id, total_cents=sale.total_cents)
