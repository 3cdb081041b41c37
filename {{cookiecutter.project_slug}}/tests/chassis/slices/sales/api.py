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

from tests.chassis.slices.sales.messages import SALE_MADE, SaleForm, SaleMade
from tests.chassis.slices.sales.repository import LARGEST_PAGE, Sales


def router(*, manager: Manager, sales: Sales, outbox: Outbox) -> APIRouter:
    """Routes for sales."""
    routes = APIRouter(prefix="/sales", tags=["sales"])

    @routes.post("", status_code=202)
    async def place(form: SaleForm) -> dict[str, UUID]:
        """Take a sale; it is processed as a message, soon."""
        sale = SaleMade(sale_id=new_id(), **dict(form))
        async with manager.transaction("make_sale"):
            await outbox.add(SALE_MADE, sale)
        return {"sale_id": sale.sale_id}

    @routes.get("/{sale_id}")
    async def show(sale_id: UUID) -> dict[str, Any]:
        """One sale with its lines."""
        async with manager.transaction("show_sale", read_only=True):
            sale = await sales.by_id(sale_id)
        if sale is None:
            raise HTTPException(404, f"no sale {sale_id}; a new one takes a moment")
        return asdict(sale)

    @routes.get("")
    async def index(
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
        after_time: datetime | None = None,
        after_id: UUID | None = None,
    ) -> list[dict[str, Any]]:
        """Sales, the oldest first; give time and id of the last one to get the next page."""
        after = (after_time, after_id) if after_time and after_id else None
        async with manager.transaction("list_sales", read_only=True):
            page = await sales.page(after=after, limit=limit)
        return [asdict(sale) for sale in page]

    return routes
