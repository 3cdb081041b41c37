"""What comes in and what goes out."""

from functools import cached_property
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from acme_orders.chassis.messaging.envelope import Payload

ORDER_PLACED = "order.placed"
ORDER_ACCEPTED = "order.accepted"

Email = Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]
_MOST_CENTS = 10**12
Cents = Annotated[int, Field(ge=0, le=_MOST_CENTS)]

_EXAMPLE: dict[str, Any] = {
    "customer_email": "ada@example.com",
    "currency": "EUR",
    "lines": [{"sku": "TEA-1", "quantity": 2, "unit_price_cents": 450}],
    "placed_at": "2026-01-31T12:00:00Z",
}


class OrderLine(Payload):
    """One article of an order; the price is in the smallest unit of the currency."""

    sku: Annotated[str, Field(min_length=1, max_length=100)]
    quantity: Annotated[int, Field(gt=0, le=1_000_000)]
    unit_price_cents: Cents


class OrderForm(Payload):
    """An order as a customer hands it in."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    customer_email: Email
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=1000)]
    placed_at: AwareDatetime

    @cached_property
    def total_cents(self) -> int:
        """What the customer pays."""
        return sum(line.quantity * line.unit_price_cents for line in self.lines)

    @model_validator(mode="after")
    def _can_be_paid(self) -> Self:
        if self.total_cents > _MOST_CENTS:
            raise ValueError(f"the total is above {_MOST_CENTS} cents")
        return self


class OrderPlaced(OrderForm):
    """A customer placed an order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"order_id": "0b8f7c0e-0f4f-4e57-9d0c-5f6b1c1f2a3d", **_EXAMPLE}]
        }
    )

    order_id: UUID


class OrderAccepted(Payload):
    """The order is in our books."""

    order_id: UUID
    total_cents: Cents
