"""What both peers read: a sale, and what tells its message from every other.

The models are those of the service, field by field: a peer that validates less would win by it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

QUEUE = "acme-orders"  # declared by the service; also the name of the consumer in the inbox
SALE_MADE = "sale.made"
SALE_BOOKED = "sale.booked"

_MOST_CENTS = 10**12
Email = Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]
Cents = Annotated[int, Field(ge=0, le=_MOST_CENTS)]


class Payload(BaseModel):
    """The base of every message body; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SaleLine(Payload):
    """One article of a sale; the price is in the smallest unit of the currency."""

    sku: Annotated[str, Field(min_length=1, max_length=100)]
    quantity: Annotated[int, Field(gt=0, le=1_000_000)]
    unit_price_cents: Cents


class SaleMade(Payload):
    """A buyer sold a sale."""

    sale_id: UUID
    buyer_email: Email
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    lines: Annotated[tuple[SaleLine, ...], Field(min_length=1, max_length=1000)]
    made_at: AwareDatetime

    @property
    def total_cents(self) -> int:
        """What the buyer pays."""
        return sum(line.quantity * line.unit_price_cents for line in self.lines)

    @model_validator(mode="after")
    def _can_be_paid(self) -> Self:
        if self.total_cents > _MOST_CENTS:
            raise ValueError(f"the total is above {_MOST_CENTS} cents")
        return self


class SaleBooked(Payload):
    """The sale is in our books."""

    sale_id: UUID
    total_cents: Cents


class RefusedError(Exception):
    """No attempt will make this message right: it belongs to the dead letters."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sale and its message. `source` and `id` together tell it from every other."""

    source: str
    id: str
    type: str
    correlation_id: str
    payload_hash: bytes
    sale: SaleMade


def read(
    body: bytes,
    headers: Mapping[str, Any],
    *,
    message_id: str | None,
    app_id: str | None,
    type_: str | None,
) -> Envelope:
    """Decode and validate a message; raises RefusedError."""
    identity = headers.get("cloudEvents:id", message_id)
    source = headers.get("cloudEvents:source", app_id or "unknown")
    kind = headers.get("cloudEvents:type", type_)
    if not (isinstance(identity, str) and identity and isinstance(source, str) and source):
        raise RefusedError("the message has no id or no source")
    if kind != SALE_MADE:
        raise RefusedError(f"no handler for type {kind!r}")
    try:
        sale = SaleMade.model_validate_json(body)
    except ValidationError as error:
        raise RefusedError(f"the body of {identity!r} is no {SALE_MADE}") from error
    return Envelope(
        source=source,
        id=identity,
        type=kind,
        correlation_id=str(headers.get("cloudEvents:correlationid", identity)),
        payload_hash=hashlib.sha256(body).digest(),
        sale=sale,
    )
