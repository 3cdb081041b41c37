# feature: http_api
"""The HTTP interface of this slice."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.http.listed import Cursor, Listed, listed
from acme_orders.chassis.identifiers import new_id
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.orders.messages import ORDER_PLACED, OrderForm, OrderPlaced
from acme_orders.orders.repository import (
    LARGEST_PAGE,
    OrderDetails,
    Orders,
    OrderSummary,
)


@dataclass(frozen=True)
class OrderTaken:
    """What was taken, and will be there soon."""

    order_id: UUID


def router(*, manager: Manager, orders: Orders, outbox: Outbox) -> APIRouter:
    """Routes for orders."""
    routes = APIRouter(prefix="/orders", tags=["orders"])

    @routes.post("", status_code=202)
    async def place(form: OrderForm) -> OrderTaken:
        """Take an order; it is processed as a message, soon."""
        order = OrderPlaced(order_id=new_id(), **dict(form))
        async with manager.transaction("place_order"):
            await outbox.add(ORDER_PLACED, order)
        return OrderTaken(order.order_id)

    @routes.get("/{order_id}")
    async def show(order_id: UUID) -> OrderDetails:
        """One order with its lines."""
        async with manager.transaction("show_order", read_only=True):
            order = await orders.by_id(order_id)
        if order is None:
            raise HTTPException(404, f"no order {order_id}; a new one takes a moment")
        return order

    @routes.get("")
    async def index(
        cursor: Cursor = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    ) -> Listed[OrderSummary]:
        """Orders, the oldest first, page by page."""
        async with manager.transaction("list_orders", read_only=True):
            return listed(await orders.page(after=cursor, limit=limit))

    return routes
