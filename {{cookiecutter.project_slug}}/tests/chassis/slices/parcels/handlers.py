"""What is done with each message about a parcel. They may come in any order."""

from acme_orders.chassis.errors import Refused, TryLater
from acme_orders.chassis.messaging.outbox import Outbox

from tests.chassis.slices.parcels.messages import (
    PARCEL_CLOSED,
    PARCEL_MOVED,
    ParcelClosed,
    ParcelDelivered,
    ParcelMoved,
    ParcelRegistered,
    ParcelScanned,
)
from tests.chassis.slices.parcels.repository import Parcels


async def register_parcel(parcel: ParcelRegistered, *, parcels: Parcels, outbox: Outbox) -> None:
    """Store a parcel, and say where it is."""
    if await parcels.register(parcel):
        moved = ParcelMoved(parcel_id=parcel.parcel_id, depot=parcel.depot, scans=0)
        await outbox.add(PARCEL_MOVED, moved, key=str(parcel.parcel_id))


async def scan_parcel(scan: ParcelScanned, *, parcels: Parcels, outbox: Outbox) -> None:
    """Note where a parcel was seen; a scan may overtake the registration."""
    if await parcels.standing(scan.parcel_id) is None:
        raise TryLater(f"parcel {scan.parcel_id} is not registered yet")
    if not await parcels.scan(scan):
        return
    await parcels.move(scan)
    standing = await parcels.standing(scan.parcel_id)
    assert standing is not None
    moved = ParcelMoved(parcel_id=scan.parcel_id, depot=scan.depot, scans=standing.scans)
    await outbox.add(PARCEL_MOVED, moved, key=str(scan.parcel_id))


async def deliver_parcel(parcel: ParcelDelivered, *, parcels: Parcels, outbox: Outbox) -> None:
    """Close a parcel, once."""
    if await parcels.standing(parcel.parcel_id) is None:
        raise TryLater(f"parcel {parcel.parcel_id} is not registered yet")
    if not parcel.signature.strip():
        raise Refused(f"parcel {parcel.parcel_id} was delivered without a signature")
    if await parcels.deliver(parcel):
        closed = ParcelClosed(parcel_id=parcel.parcel_id, delivered_at=parcel.delivered_at)
        await outbox.add(PARCEL_CLOSED, closed, key=str(parcel.parcel_id))
