"""This service: its name, and its slices, one line for each."""

from acme_orders.chassis.slice import Definition
from acme_orders.orders.slice import orders
from acme_orders.settings import Settings

SERVICE = Definition(
    name="acme-orders",
    title="Acme Orders",
    settings=Settings,
    slices=(orders,),
)
