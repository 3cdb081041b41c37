"""The service that these tests are about: the chassis, with a slice that only they have."""

from pydantic_settings import SettingsConfigDict

from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition

from tests.chassis.slices.sales.slice import sales


class Settings(ChassisSettings):
    """From the environment alone: a `.env` is for people, and would change what is tested."""

    model_config = SettingsConfigDict(env_file=None)


SERVICE = Definition[ChassisSettings](
    name="acme-orders",
    title="Acme Orders",
    settings=Settings,
    slices=(sales,),
)
