"""Orders in PostgreSQL. What leaves this module is plain data, never a model."""

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
from acme_orders.orders.messages import OrderPlaced
from acme_orders.orders.models import AuditEntry, Customer, Line, Order

LARGEST_PAGE = 100
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NOBODY = UUID(int=0)
_EXAMPLE = OrderPlaced.model_validate(OrderPlaced.example())


@dataclass(frozen=True)
class OrderSummary:
    """What a list of orders shows."""

    id: UUID
    status: str
    currency: str
    total_cents: int
    placed_at: datetime


@dataclass(frozen=True)
class LineDetails:
    """One article of an order."""

    position: int
    sku: str
    quantity: int
    unit_price_cents: int


@dataclass(frozen=True)
class OrderDetails(OrderSummary):
    """An order with its lines."""

    lines: Sequence[LineDetails]


@dataclass(frozen=True)
class Revenue:
    """What came in on one day."""

    day: date
    status: str
    orders: int
    total_cents: int


class Orders(Repository):
    """Stores and finds orders."""

    def add(self, order: OrderPlaced) -> Later:
        """Store an order before COMMIT, with its customer and lines, unless it is there already."""
        return self.later(self.add_all, order)

    @query("orders.add", traffic="high", writes=True, example={"orders": [_EXAMPLE]})
    async def add_all(self, orders: Sequence[OrderPlaced]) -> list[bool]:
        """Store orders with their customers and lines; says of each whether it is new."""
        first: dict[UUID, OrderPlaced] = {}
        for order in orders:
            first.setdefault(order.order_id, order)
        customers = await self._customers({order.customer_email for order in first.values()})
        # In the order of their ids, or two batches with the same orders could wait for each other.
        rows = [_row(first[id_], customers) for id_ in sorted(first)]
        added = {id_ for (id_,) in await self.insert_all_once(Order, rows, Order.id)}
        new = [order.order_id in added and order is first[order.order_id] for order in orders]
        stored = list(itertools.compress(orders, new))
        await self.insert_all(Line, [row for order in stored for row in _lines(order)])
        await self.insert_all(AuditEntry, [_audit(order) for order in stored])
        return new

    @query("orders.by_id", traffic="high", example={"order_id": _EXAMPLE.order_id})
    async def by_id(self, order_id: UUID) -> OrderDetails | None:
        """One order with its lines."""
        order = await self.fetch_one(_summaries().where(Order.id == order_id), OrderSummary)
        if order is None:
            return None
        lines = await self.lines_of([order_id])
        return OrderDetails(**vars(order), lines=lines[order_id])

    @query("orders.lines_of", traffic="high", example={"order_ids": [_EXAMPLE.order_id]})
    async def lines_of(self, order_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[LineDetails]]:
        """The lines of some orders, in one query for all of them."""
        select = Line.select(
            Line.order_id, Line.position, Line.sku, Line.quantity, Line.unit_price_cents
        ).order_by(Line.position)
        return await self.fetch_children(select, Line.order_id, order_ids, LineDetails)

    @query(
        "orders.page",
        traffic="high",
        example={"after": (_BEGINNING, _NOBODY), "limit": LARGEST_PAGE},
    )
    async def page(
        self, *, after: tuple[datetime, UUID] | str | None = None, limit: int = LARGEST_PAGE
    ) -> Page[OrderSummary]:
        """Orders by time, the oldest first.

        Args:
            after: `next` of the page before, or time and id of its last order.
            limit: most orders, at most 100.
        """
        return await self.fetch_page(
            _summaries(),
            OrderSummary,
            order=(Order.placed_at, Order.id),
            after=after,
            limit=min(limit, LARGEST_PAGE),
        )

    @query("orders.revenue", example={"since": date(2026, 1, 1)})
    async def revenue(self, *, since: date, limit: int = 1000) -> Sequence[Revenue]:
        """Revenue by day and status, the newest day first."""
        day = peewee.fn.date(Order.placed_at)
        return await self.fetch_all(
            Order.select(
                day.alias("day"),
                Order.status,
                peewee.fn.count(Order.id).alias("orders"),
                peewee.fn.sum(Order.total_cents).alias("total_cents"),
            )
            .where(Order.placed_at >= since)
            .group_by(day, Order.status)
            .order_by(day.desc(), Order.status)
            .limit(limit),
            Revenue,
        )

    async def _customers(self, emails: set[str]) -> dict[str, UUID]:
        """The ids of these customers; those that are new are stored."""
        found = await self._known(emails)
        if new := sorted(emails - found.keys()):
            rows = [{"id": new_id(), "email": email} for email in new]
            found |= dict(
                await self.insert_all_once(Customer, rows, Customer.email, returning=(Customer.id,))
            )
        if others := emails - found.keys():  # another transaction has stored them meanwhile
            found |= await self._known(others)
        return found

    async def _known(self, emails: set[str]) -> dict[str, UUID]:
        rows = await self.fetch_all(
            Customer.select(Customer.email, Customer.id)
            .where(among(Customer.email, emails, "text"))
            .limit(len(emails))
        )
        return {row["email"]: row["id"] for row in rows}


def _row(order: OrderPlaced, customers: Mapping[str, UUID]) -> Mapping[str, Any]:
    return {
        "id": order.order_id,
        "customer_id": customers[order.customer_email],
        "status": "accepted",
        "currency": order.currency,
        "total_cents": order.total_cents,
        "placed_at": order.placed_at,
    }


def _lines(order: OrderPlaced) -> Iterator[Mapping[str, Any]]:
    for position, line in enumerate(order.lines, start=1):
        yield {"order_id": order.order_id, "position": position, **dict(line)}


def _audit(order: OrderPlaced) -> Mapping[str, Any]:
    return {"id": new_id(), "event_type": "order.accepted", "payload": order}


def _summaries() -> "peewee.ModelSelect[Order]":
    return Order.select(Order.id, Order.status, Order.currency, Order.total_cents, Order.placed_at)
