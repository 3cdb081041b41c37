"""All that this slice has. What is not named here, the service does not know."""

from functools import partial
from typing import Any  # feature: http_api

from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.retention.policy import Keep
from acme_orders.chassis.slice import Chassis, Slice
from acme_orders.orders.handlers import place_order, place_orders
from acme_orders.orders.messages import (
    ORDER_ACCEPTED,
    ORDER_PLACED,
    OrderAccepted,
    OrderPlaced,
)
from acme_orders.orders.repository import Orders
from acme_orders.settings import Settings


def orders(chassis: Chassis[Settings]) -> Slice:
    """Orders: they come as messages or through the API, are stored, and announced."""
    repository = Orders(chassis.manager)
    return Slice(
        "orders",
        repositories=(repository,),
        handlers={
            ORDER_PLACED: Handler(
                OrderPlaced,
                partial(place_order, orders=repository, outbox=chassis.outbox),
                partial(place_orders, orders=repository, outbox=chassis.outbox),
            )
        },
        publishes=[
            Event(ORDER_ACCEPTED, OrderAccepted),
            Event(ORDER_PLACED, OrderPlaced, needs_listener=True),  # feature: http_api
        ],
        routes=partial(_routes, chassis, repository),  # feature: http_api
        subjects=(Subject("customers", by=("email",)),),
        retention=(
            Keep("customers", "an order says who has ordered"),
            Keep("orders", "they are our books"),
            Keep("order_lines", "they are part of the books"),
            Keep("audit_log", "audits ask about all the years that the books are about"),
        ),
    )


# feature: http_api {
def _routes(chassis: Chassis[Settings], repository: Orders) -> Any:
    # FastAPI is half of all that is imported, and only a process that serves the API needs it.
    from acme_orders.orders.api import router  # noqa: PLC0415

    return router(manager=chassis.manager, orders=repository, outbox=chassis.outbox)


# feature: http_api }
