"""The service that these tests are about: the chassis, with a slice that only they have."""

from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition

from tests.chassis.slices.sales.slice import sales

SERVICE = Definition(
    name="acme-orders",
    title="Acme Orders",
    settings=ChassisSettings,
    slices=(sales,),
)
