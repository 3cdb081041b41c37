"""What comes in and what goes out."""

from functools import cached_property
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from acme_orders.chassis.messaging.envelope import Payload

SALE_MADE = "sale.made"
SALE_BOOKED = "sale.booked"

Email = Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]
_MOST_CENTS = 10**12
Cents = Annotated[int, Field(ge=0, le=_MOST_CENTS)]

_EXAMPLE: dict[str, Any] = {
    "buyer_email": "ada@example.com",
    "currency": "EUR",
    "lines": [{"sku": "TEA-1", "quantity": 2, "unit_price_cents": 450}],
    "made_at": "2026-01-31T12:00:00Z",
}


class SaleLine(Payload):
    """One article of a sale; the price is in the smallest unit of the currency."""

    sku: Annotated[str, Field(min_length=1, max_length=100)]
    quantity: Annotated[int, Field(gt=0, le=1_000_000)]
    unit_price_cents: Cents


class SaleForm(Payload):
    """A sale as a buyer hands it in."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    buyer_email: Email
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    lines: Annotated[tuple[SaleLine, ...], Field(min_length=1, max_length=1000)]
    made_at: AwareDatetime

    @cached_property
    def total_cents(self) -> int:
        """What the buyer pays."""
        return sum(line.quantity * line.unit_price_cents for line in self.lines)

    @model_validator(mode="after")
    def _can_be_paid(self) -> Self:
        if self.total_cents > _MOST_CENTS:
            raise ValueError(f"the total is above {_MOST_CENTS} cents")
        return self


class SaleMade(SaleForm):
    """Something was sold."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sale_id": "0b8f7c0e-0f4f-4e57-9d0c-5f6b1c1f2a3d", **_EXAMPLE}]
        }
    )

    sale_id: UUID


class SaleBooked(Payload):
    """The sale is in our books."""

    sale_id: UUID
    total_cents: Cents
