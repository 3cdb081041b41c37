"""Your own settings; `chassis/settings.py` has those of every service."""

from acme_orders.chassis.settings import ChassisSettings


class Settings(ChassisSettings):
    """A field for each, read from the variable of its name; its description is the reason for it.

    A slice finds them in `chassis.settings`.
    """
