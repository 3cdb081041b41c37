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

from tests.chassis.slices.sales.messages import SALE_MADE, SaleForm, SaleMade
from tests.chassis.slices.sales.repository import LARGEST_PAGE, SaleDetails, Sales, SaleSummary


@dataclass(frozen=True)
class SaleTaken:
    """What was taken, and will be there soon."""

    sale_id: UUID


def router(*, manager: Manager, sales: Sales, outbox: Outbox) -> APIRouter:
    """Routes for sales."""
    routes = APIRouter(prefix="/sales", tags=["sales"])

    @routes.post("", status_code=202)
    async def place(form: SaleForm) -> SaleTaken:
        """Take a sale; it is processed as a message, soon."""
        sale = SaleMade(sale_id=new_id(), **dict(form))
        async with manager.transaction("make_sale"):
            await outbox.add(SALE_MADE, sale)
        return SaleTaken(sale.sale_id)

    @routes.get("/{sale_id}")
    async def show(sale_id: UUID) -> SaleDetails:
        """One sale with its lines."""
        async with manager.transaction("show_sale", read_only=True):
            sale = await sales.by_id(sale_id)
        if sale is None:
            raise HTTPException(404, f"no sale {sale_id}; a new one takes a moment")
        return sale

    @routes.get("")
    async def index(
        cursor: Cursor = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    ) -> Listed[SaleSummary]:
        """Sales, the oldest first, page by page."""
        async with manager.transaction("list_sales", read_only=True):
            return listed(await sales.page(after=cursor, limit=limit))

    return routes
