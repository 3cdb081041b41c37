"""What happens to a parcel, and what is said about it."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field

from acme_orders.chassis.messaging.envelope import Payload

PARCEL_REGISTERED = "parcel.registered"
PARCEL_SCANNED = "parcel.scanned"
PARCEL_DELIVERED = "parcel.delivered"
PARCEL_MOVED = "parcel.moved"
PARCEL_CLOSED = "parcel.closed"

Depot = Annotated[str, Field(pattern="^[A-Z]{3}$")]

_PARCEL = "7d0f1f5e-2c1b-4e0b-8b0e-5b1b8f0f3a11"
_AT = "2026-03-01T08:30:00Z"


class ParcelRegistered(Payload):
    """Somebody has handed a parcel in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "parcel_id": _PARCEL,
                    "depot": "BER",
                    "weight_grams": 1200,
                    "contents": [{"name": "tea", "pieces": 2}],
                    "registered_at": _AT,
                }
            ]
        }
    )

    class Content(Payload):
        """Something in it."""

        name: Annotated[str, Field(min_length=1, max_length=80)]
        pieces: Annotated[int, Field(gt=0, le=10_000)]

    parcel_id: UUID
    depot: Depot
    weight_grams: Annotated[int, Field(gt=0, le=70_000)]
    contents: Annotated[tuple[Content, ...], Field(max_length=100)] = ()
    registered_at: AwareDatetime


class ParcelScanned(Payload):
    """A parcel has come to a depot."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "scan_id": "0a4f9a53-9b6c-4c8f-8f5c-0f5a0d8f7b22",
                    "parcel_id": _PARCEL,
                    "depot": "HAM",
                    "scanned_at": "2026-03-01T17:05:00Z",
                }
            ]
        }
    )

    scan_id: UUID
    parcel_id: UUID
    depot: Depot
    scanned_at: AwareDatetime


class ParcelDelivered(Payload):
    """The parcel is where it belongs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"parcel_id": _PARCEL, "signature": "A. L.", "delivered_at": "2026-03-02T10:00:00Z"}
            ]
        }
    )

    parcel_id: UUID
    signature: Annotated[str, Field(min_length=1, max_length=200)]
    delivered_at: AwareDatetime


class ParcelMoved(Payload):
    """Where a parcel was seen last."""

    parcel_id: UUID
    depot: Depot
    scans: Annotated[int, Field(ge=0)]


class ParcelClosed(Payload):
    """The parcel is where it belongs; a scan may still come late."""

    parcel_id: UUID
    delivered_at: AwareDatetime
