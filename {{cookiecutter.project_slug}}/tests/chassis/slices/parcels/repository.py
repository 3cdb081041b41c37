"""Parcels in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import peewee

from acme_orders.chassis.database.repository import Insertion, Repository, query

from tests.chassis.slices.parcels.messages import (
    ParcelDelivered,
    ParcelRegistered,
    ParcelScanned,
)
from tests.chassis.slices.parcels.models import Depot, Parcel, Scan

_REGISTERED = ParcelRegistered.model_validate(ParcelRegistered.example())
_SCANNED = ParcelScanned.model_validate(ParcelScanned.example())
_DELIVERED = ParcelDelivered.model_validate(ParcelDelivered.example())
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_PAGE = 50


@dataclass(frozen=True)
class Standing:
    """How far a parcel has come."""

    id: UUID
    state: str
    depot: str
    scans: int


@dataclass(frozen=True)
class Summary:
    """What a list shows."""

    id: UUID
    state: str
    city: str
    registered_at: datetime


@dataclass(frozen=True)
class Load:
    """What one depot has."""

    depot: str
    state: str
    parcels: int
    grams: int


class Parcels(Repository):
    """Stores parcels and what happens to them."""

    @query("parcels.register", traffic="high", writes=True, example={"parcel": _REGISTERED})
    async def register(self, parcel: ParcelRegistered) -> bool:
        """Store a parcel and, if need be, its depot; whether it is new."""
        await self.insert_once(Depot, {"code": parcel.depot}, Depot.code)
        row = {
            "id": parcel.parcel_id,
            "depot_id": parcel.depot,
            "state": "registered",
            "weight_grams": parcel.weight_grams,
            "contents": [dict(each) for each in parcel.contents],
            "registered_at": parcel.registered_at,
        }
        return await self.insert_once(Parcel, row, Parcel.id) is Insertion.INSERTED

    @query("parcels.scan", traffic="high", writes=True, example={"scan": _SCANNED})
    async def scan(self, scan: ParcelScanned) -> bool:
        """Store a scan of a known parcel; whether it is new."""
        await self.insert_once(Depot, {"code": scan.depot}, Depot.code)
        row = {
            "id": scan.scan_id,
            "parcel_id": scan.parcel_id,
            "depot_id": scan.depot,
            "scanned_at": scan.scanned_at,
        }
        return await self.insert_once(Scan, row, Scan.id) is Insertion.INSERTED

    @query("parcels.move", traffic="high", writes=True, example={"scan": _SCANNED})
    async def move(self, scan: ParcelScanned) -> None:
        """The parcel is in that depot now; one that was delivered before its scan stays so."""
        state = peewee.Case(Parcel.state, (("registered", "moving"),), Parcel.state)
        await self.manager.execute(
            Parcel.update(depot=scan.depot, state=state).where(Parcel.id == scan.parcel_id)
        )

    @query("parcels.deliver", traffic="high", writes=True, example={"parcel": _DELIVERED})
    async def deliver(self, parcel: ParcelDelivered) -> bool:
        """Close a parcel; whether it was open."""
        closed = await self.manager.execute(
            Parcel.update(
                state="delivered",
                signature=parcel.signature,
                delivered_at=parcel.delivered_at,
            ).where(Parcel.id == parcel.parcel_id, Parcel.state != "delivered")
        )
        return bool(closed)

    @query(
        "parcels.standing", traffic="high", writes=True, example={"parcel_id": _SCANNED.parcel_id}
    )
    async def standing(self, parcel_id: UUID) -> Standing | None:
        """How far a parcel has come; nobody else changes it until COMMIT."""
        row = await self.fetch_one(
            Parcel.select(Parcel.id, Parcel.state, Parcel.depot_id.alias("depot"))
            .where(Parcel.id == parcel_id)
            .for_update()
        )
        if row is None:
            return None
        ((scans,),) = [tuple((await self._count(parcel_id)).values())]
        return Standing(**row, scans=scans)

    async def _count(self, parcel_id: UUID) -> Mapping[str, Any]:
        row = await self.fetch_one(
            Scan.select(peewee.fn.count(Scan.id).alias("scans")).where(Scan.parcel_id == parcel_id)
        )
        assert row is not None
        return row

    @query(
        "parcels.page",
        traffic="high",
        example={"after": (_BEGINNING, UUID(int=0)), "limit": LARGEST_PAGE},
    )
    async def page(
        self, *, after: tuple[datetime, UUID] | None = None, limit: int = LARGEST_PAGE
    ) -> Sequence[Summary]:
        """Parcels by time, with the city that they are in."""
        return await self.fetch_page(
            Parcel.select(Parcel.id, Parcel.state, Depot.city, Parcel.registered_at).join(Depot),
            Summary,
            order=(Parcel.registered_at, Parcel.id),
            after=after,
            limit=min(limit, LARGEST_PAGE),
        )

    @query("parcels.load", example={})
    async def load(self, *, limit: int = 200) -> Sequence[Load]:
        """How much each depot has: a report."""
        grams = peewee.fn.sum(Parcel.weight_grams)
        return await self.fetch_all(
            Parcel.select(
                Parcel.depot_id.alias("depot"),
                Parcel.state,
                peewee.fn.count(Parcel.id).alias("parcels"),
                grams.alias("grams"),
            )
            .group_by(Parcel.depot_id, Parcel.state)
            .order_by(grams.desc(), Parcel.depot_id)
            .limit(limit),
            Load,
        )
