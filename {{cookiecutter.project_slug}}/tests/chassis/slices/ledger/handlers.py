"""What is done with a payment."""

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import ConstraintViolated
from acme_orders.chassis.messaging.outbox import Outbox

from tests.chassis.slices.ledger.messages import (
    PAYMENT_BOOKED,
    PAYMENT_REJECTED,
    PaymentBooked,
    PaymentRejected,
    PaymentSubmitted,
)
from tests.chassis.slices.ledger.repository import Books


async def book_payment(
    payment: PaymentSubmitted, *, manager: Manager, books: Books, outbox: Outbox
) -> None:
    """Book a payment once; one that the payer cannot afford is rejected, and said to be."""
    await books.open([payment.payer, payment.payee])
    if await books.is_booked(payment):
        return
    try:
        async with manager.savepoint():
            await books.book(payment)
    except ConstraintViolated as error:
        if error.constraint != "accounts_check":
            raise
        rejected = PaymentRejected(payment_id=payment.payment_id, reason="not enough money")
        await outbox.add(PAYMENT_REJECTED, rejected, key=payment.payer)
    else:
        booked = PaymentBooked(payment_id=payment.payment_id, amount=payment.amount)
        await outbox.add(PAYMENT_BOOKED, booked, key=payment.payer)
