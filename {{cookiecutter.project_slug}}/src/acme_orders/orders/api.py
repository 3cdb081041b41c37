# feature: http_api
"""The HTTP interface of this slice."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.identifiers import new_id
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.orders.messages import ORDER_PLACED, OrderForm, OrderPlaced
from acme_orders.orders.repository import LARGEST_PAGE, Orders


def router(*, manager: Manager, orders: Orders, outbox: Outbox) -> APIRouter:
    """Routes for orders."""
    routes = APIRouter(prefix="/orders", tags=["orders"])

    @routes.post("", status_code=202)
    async def place(form: OrderForm) -> dict[str, UUID]:
        """Take an order; it is processed as a message, soon."""
        order = OrderPlaced(order_id=new_id(), **dict(form))
        async with manager.transaction("place_order"):
            await outbox.add(ORDER_PLACED, order)
        return {"order_id": order.order_id}

    @routes.get("/{order_id}")
    async def show(order_id: UUID) -> dict[str, Any]:
        """One order with its lines."""
        async with manager.transaction("show_order", read_only=True):
            order = await orders.by_id(order_id)
        if order is None:
            raise HTTPException(404, f"no order {order_id}; a new one takes a moment")
        return asdict(order)

    @routes.get("")
    async def index(
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
        after_time: datetime | None = None,
        after_id: UUID | None = None,
    ) -> list[dict[str, Any]]:
        """Orders, the oldest first; give time and id of the last one to get the next page."""
        after = (after_time, after_id) if after_time and after_id else None
        async with manager.transaction("list_orders", read_only=True):
            page = await orders.page(after=after, limit=limit)
        return [asdict(order) for order in page]

    return routes
