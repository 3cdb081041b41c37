"""Your own settings; `chassis/settings.py` has those of every service."""

from acme_orders.chassis.settings import ChassisSettings


class Settings(ChassisSettings):
    """A field for each, read from the variable of its name; its description is the reason for it.

    Such as `heaviest: int = Field(30, description="in kg; nobody can lift more")`: `HEAVIEST=25` in
    the environment or `.env` changes it, and a slice finds it as `chassis.settings.heaviest`.
    """
