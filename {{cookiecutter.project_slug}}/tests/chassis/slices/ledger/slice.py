"""Money, which a handler moves in a part of its transaction that may fail alone."""

from functools import partial
from typing import Any

from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.retention.policy import Keep
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.slices.ledger.handlers import book_payment
from tests.chassis.slices.ledger.messages import (
    PAYMENT_BOOKED,
    PAYMENT_REJECTED,
    PAYMENT_SUBMITTED,
    PaymentBooked,
    PaymentRejected,
    PaymentSubmitted,
)
from tests.chassis.slices.ledger.repository import Books


def ledger(chassis: Chassis[Any]) -> Slice:
    """Payments between accounts."""
    books = Books(chassis.manager)
    book = partial(book_payment, manager=chassis.manager, books=books, outbox=chassis.outbox)
    return Slice(
        "ledger",
        repositories=(books,),
        handlers={PAYMENT_SUBMITTED: Handler(PaymentSubmitted, book)},
        publishes=(
            Event(PAYMENT_BOOKED, PaymentBooked),
            Event(PAYMENT_REJECTED, PaymentRejected),
        ),
        subjects=(Subject("accounts", by=("number",)),),
        retention=(
            Keep("accounts", "there are as many as customers"),
            Keep("ledger_entries", "a balance is the sum of them"),
        ),
    )
