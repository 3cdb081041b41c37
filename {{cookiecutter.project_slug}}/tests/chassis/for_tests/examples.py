"""Messages and slices to test with."""

from collections.abc import Callable
from typing import Any

from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.slices.ledger.messages import PaymentSubmitted
from tests.chassis.slices.parcels.messages import (
    ParcelDelivered,
    ParcelRegistered,
    ParcelScanned,
)

Make = Callable[[Chassis[Any]], Slice]

REGISTERED = ParcelRegistered.model_validate(ParcelRegistered.example())
SCANNED = ParcelScanned.model_validate(ParcelScanned.example())
DELIVERED = ParcelDelivered.model_validate(ParcelDelivered.example())
PAYMENT = PaymentSubmitted.model_validate(PaymentSubmitted.example())


def slice_of(handle: Callable[[Chassis[Any], ParcelRegistered], Any], **more: Any) -> Make:
    """A slice with one handler, which is also given the chassis."""

    def make(chassis: Chassis[Any]) -> Slice:
        async def one(parcel: ParcelRegistered) -> None:
            await handle(chassis, parcel)

        return Slice("one", handlers={"parcel.registered": Handler(ParcelRegistered, one)}, **more)

    return make
