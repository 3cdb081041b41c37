"""Your own settings; those that every service has are in `chassis/settings.py`."""

from acme_orders.chassis.settings import ChassisSettings


class Settings(ChassisSettings):
    """A field for each, read from the variable of its name; its description is the reason for it.

    A slice finds them in `chassis.settings`.
    """
