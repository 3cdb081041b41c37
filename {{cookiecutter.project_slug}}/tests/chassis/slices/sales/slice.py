"""All that this slice has. What is not named here, the service does not know."""

from datetime import timedelta
from functools import partial
from typing import Any  # feature: http_api

from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.retention.policy import Keep, Retention
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.slices.sales.handlers import make_sale, make_sales
from tests.chassis.slices.sales.messages import (
    SALE_BOOKED,
    SALE_MADE,
    SaleBooked,
    SaleMade,
)
from tests.chassis.slices.sales.repository import Sales


def sales(chassis: Chassis[ChassisSettings]) -> Slice:
    """Sales: they come as messages or through the API, are stored, and announced."""
    repository = Sales(chassis.manager)
    return Slice(
        "sales",
        repositories=(repository,),
        handlers={
            SALE_MADE: Handler(
                SaleMade,
                partial(make_sale, sales=repository, outbox=chassis.outbox),
                partial(make_sales, sales=repository, outbox=chassis.outbox),
            )
        },
        publishes=[
            Event(SALE_BOOKED, SaleBooked),
            Event(SALE_MADE, SaleMade, needs_listener=True),  # feature: http_api
        ],
        routes=partial(_routes, chassis, repository),  # feature: http_api
        subjects=(Subject("buyers", by=("email",)),),
        retention=(
            Keep("buyers", "a sale says who has bought"),
            # Longer than for any time that a test can think of.
            Retention("sales", "made_at", timedelta(days=999_999), children=("sale_lines",)),
            Keep("journal", "audits ask about all the years that the books are about"),
        ),
    )


# feature: http_api {
def _routes(chassis: Chassis[ChassisSettings], repository: Sales) -> Any:
    # FastAPI is half of all that is imported, and only a process that serves the API needs it.
    from tests.chassis.slices.sales.api import router

    return router(manager=chassis.manager, sales=repository, outbox=chassis.outbox)


# feature: http_api }
