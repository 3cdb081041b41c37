"""Payments between accounts."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from acme_orders.chassis.messaging.envelope import Payload

PAYMENT_SUBMITTED = "payment.submitted"
PAYMENT_BOOKED = "payment.booked"
PAYMENT_REJECTED = "payment.rejected"

Account = Annotated[str, Field(pattern="^[A-Z0-9-]{3,20}$")]
Amount = Annotated[Decimal, Field(gt=0, max_digits=14, decimal_places=2)]


class PaymentSubmitted(Payload):
    """Somebody wants to pay somebody."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "payment_id": "5f3b1f64-76a2-4d09-9a59-6a5e2f1c9d33",
                    "payer": "ADA-1",
                    "payee": "BOB-2",
                    "amount": "12.50",
                    "booked_on": "2026-03-01",
                },
                {
                    "payment_id": "0d7c2a38-4b1e-4f0f-8c58-2f6a9b7e1d44",
                    "payer": "BOB-2",
                    "payee": "ADA-1",
                    "amount": "999999999999.00",
                    "booked_on": "2026-03-02",
                },
            ]
        }
    )

    payment_id: UUID
    payer: Account
    payee: Account
    amount: Amount
    booked_on: date
    note: Annotated[str, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _two_parties(self) -> Self:
        if self.payer == self.payee:
            raise ValueError("payer and payee are the same account")
        return self


class PaymentBooked(Payload):
    """The payment is in the books."""

    payment_id: UUID
    amount: Amount


class PaymentRejected(Payload):
    """The payment was not made."""

    payment_id: UUID
    reason: Annotated[str, Field(max_length=100)]
