"""Three messages about one thing, none of which has a handler of many."""

from datetime import timedelta
from functools import partial
from typing import Any

from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.retention.policy import Keep, Retention
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.slices.parcels.handlers import deliver_parcel, register_parcel, scan_parcel
from tests.chassis.slices.parcels.messages import (
    PARCEL_CLOSED,
    PARCEL_DELIVERED,
    PARCEL_MOVED,
    PARCEL_REGISTERED,
    PARCEL_SCANNED,
    ParcelClosed,
    ParcelDelivered,
    ParcelMoved,
    ParcelRegistered,
    ParcelScanned,
)
from tests.chassis.slices.parcels.repository import Parcels


def parcels(chassis: Chassis[Any]) -> Slice:
    """Parcels: registered, seen in depots, delivered."""
    repository = Parcels(chassis.manager)
    parts = partial(partial, parcels=repository, outbox=chassis.outbox)
    return Slice(
        "parcels",
        repositories=(repository,),
        handlers={
            PARCEL_REGISTERED: Handler(ParcelRegistered, parts(register_parcel)),
            PARCEL_SCANNED: Handler(ParcelScanned, parts(scan_parcel)),
            PARCEL_DELIVERED: Handler(ParcelDelivered, parts(deliver_parcel)),
        },
        publishes=(Event(PARCEL_MOVED, ParcelMoved), Event(PARCEL_CLOSED, ParcelClosed)),
        subjects=(Subject("parcels", by=("signature",)),),
        retention=(
            Keep("depots", "a few dozen of them, and parcels refer to them"),
            Retention(
                "parcels", "registered_at", timedelta(days=999_999), children=("parcel_scans",)
            ),
        ),
    )
