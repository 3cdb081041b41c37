"""Sales in PostgreSQL. What leaves this module is plain data, never a model."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import peewee

from acme_orders.chassis.database.cursors import Page
from acme_orders.chassis.database.repository import Repository, among, query
from acme_orders.chassis.database.unit_of_work import Later
from acme_orders.chassis.identifiers import new_id

from tests.chassis.slices.sales.messages import SaleMade
from tests.chassis.slices.sales.models import Buyer, JournalEntry, Line, Sale

LARGEST_PAGE = 100
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NOBODY = UUID(int=0)
_EXAMPLE = SaleMade.model_validate(SaleMade.example())


@dataclass(frozen=True)
class SaleSummary:
    """What a list of sales shows."""

    id: UUID
    status: str
    currency: str
    total_cents: int
    made_at: datetime


@dataclass(frozen=True)
class LineDetails:
    """One article of a sale."""

    position: int
    sku: str
    quantity: int
    unit_price_cents: int


@dataclass(frozen=True)
class SaleDetails(SaleSummary):
    """A sale with its lines."""

    lines: Sequence[LineDetails]


@dataclass(frozen=True)
class Revenue:
    """What came in on one day."""

    day: date
    status: str
    sales: int
    total_cents: int


class Sales(Repository):
    """Stores and finds sales."""

    def add(self, sale: SaleMade) -> Later:
        """Store a sale before COMMIT, with its buyer and lines, unless it is there already."""
        return self.later(self.add_all, sale)

    @query("sales.add", traffic="high", writes=True, example={"sales": [_EXAMPLE]})
    async def add_all(self, sales: Sequence[SaleMade]) -> list[bool]:
        """Store sales with their buyers and lines; says of each whether it is new."""
        first: dict[UUID, SaleMade] = {}
        for sale in sales:
            first.setdefault(sale.sale_id, sale)
        buyers = await self._buyers({sale.buyer_email for sale in first.values()})
        # In the order of their ids, or two batches with the same sales could wait for each other.
        rows = [_row(first[id_], buyers) for id_ in sorted(first)]
        added = {id_ for (id_,) in await self.insert_all_once(Sale, rows, Sale.id)}
        new = [sale.sale_id in added and sale is first[sale.sale_id] for sale in sales]
        stored = list(itertools.compress(sales, new))
        await self.insert_all(Line, [row for sale in stored for row in _lines(sale)])
        await self.insert_all(JournalEntry, [_audit(sale) for sale in stored])
        return new

    @query("sales.by_id", traffic="high", example={"sale_id": _EXAMPLE.sale_id})
    async def by_id(self, sale_id: UUID) -> SaleDetails | None:
        """One sale with its lines."""
        sale = await self.fetch_one(_summaries().where(Sale.id == sale_id), SaleSummary)
        if sale is None:
            return None
        lines = await self.lines_of([sale_id])
        return SaleDetails(**vars(sale), lines=lines[sale_id])

    @query("sales.lines_of", traffic="high", example={"sale_ids": [_EXAMPLE.sale_id]})
    async def lines_of(self, sale_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[LineDetails]]:
        """The lines of some sales, in one query for all of them."""
        select = Line.select(
            Line.sale_id, Line.position, Line.sku, Line.quantity, Line.unit_price_cents
        ).order_by(Line.sale_id, Line.position)
        return await self.fetch_children(select, Line.sale_id, sale_ids, LineDetails)

    @query(
        "sales.page",
        traffic="high",
        example={"after": (_BEGINNING, _NOBODY), "limit": LARGEST_PAGE},
    )
    async def page(
        self, *, after: tuple[datetime, UUID] | str | None = None, limit: int = LARGEST_PAGE
    ) -> Page[SaleSummary]:
        """Sales by time, the oldest first.

        Args:
            after: `next` of the page before, or time and id of its last sale.
            limit: most sales, at most 100.
        """
        return await self.fetch_page(
            _summaries(),
            SaleSummary,
            order=(Sale.made_at, Sale.id),
            after=after,
            limit=min(limit, LARGEST_PAGE),
        )

    @query("sales.revenue", example={"since": date(2026, 1, 1)})
    async def revenue(self, *, since: date, limit: int = 1000) -> Sequence[Revenue]:
        """Revenue by day and status, the newest day first."""
        day = peewee.fn.date(Sale.made_at)
        return await self.fetch_all(
            Sale.select(
                day.alias("day"),
                Sale.status,
                peewee.fn.count(Sale.id).alias("sales"),
                peewee.fn.sum(Sale.total_cents).alias("total_cents"),
            )
            .where(Sale.made_at >= since)
            .group_by(day, Sale.status)
            .order_by(day.desc(), Sale.status)
            .limit(limit),
            Revenue,
        )

    async def _buyers(self, emails: set[str]) -> dict[str, UUID]:
        """The ids of these buyers; those that are new are stored."""
        found = await self._known(emails)
        if new := sorted(emails - found.keys()):
            rows = [{"id": new_id(), "email": email} for email in new]
            found |= dict(
                await self.insert_all_once(Buyer, rows, Buyer.email, returning=(Buyer.id,))
            )
        if others := emails - found.keys():  # another transaction has stored them meanwhile
            found |= await self._known(others)
        return found

    async def _known(self, emails: set[str]) -> dict[str, UUID]:
        rows = await self.fetch_all(
            Buyer.select(Buyer.email, Buyer.id)
            .where(among(Buyer.email, emails, "text"))
            .limit(len(emails))
        )
        return {row["email"]: row["id"] for row in rows}


def _row(sale: SaleMade, buyers: Mapping[str, UUID]) -> Mapping[str, Any]:
    return {
        "id": sale.sale_id,
        "buyer_id": buyers[sale.buyer_email],
        "status": "booked",
        "currency": sale.currency,
        "total_cents": sale.total_cents,
        "made_at": sale.made_at,
    }


def _lines(sale: SaleMade) -> Iterator[Mapping[str, Any]]:
    for position, line in enumerate(sale.lines, start=1):
        yield {"sale_id": sale.sale_id, "position": position, **dict(line)}


def _audit(sale: SaleMade) -> Mapping[str, Any]:
    return {"id": new_id(), "event_type": "sale.booked", "payload": sale}


def _summaries() -> "peewee.ModelSelect[Sale]":
    return Sale.select(Sale.id, Sale.status, Sale.currency, Sale.total_cents, Sale.made_at)
