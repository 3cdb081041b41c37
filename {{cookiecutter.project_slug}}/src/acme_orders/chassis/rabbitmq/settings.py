"""The settings of the broker and of its connections."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from acme_orders.chassis.addresses import readable
from acme_orders.chassis.durations import Seconds
from acme_orders.chassis.rabbitmq.addresses import (
    broker_address,
    management_address,
)

MEMORY = "memory://"


def _read(url: str) -> object:
    return url == MEMORY or broker_address(url)


class BrokerSettings(BaseModel):
    """Where messages come from and go to."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    broker_url: Annotated[str, readable(_read)] = Field(
        repr=False, description="amqp://user:password@host:port/vhost, or memory:// for a demo"
    )
    rabbitmq_management_url: Annotated[str, readable(management_address)] | None = Field(
        default=None,
        repr=False,
        description="http://user:password@host:15672; unset: bindings and policies are not seen",
    )
    heartbeat: int = Field(
        default=15,
        ge=1,
        le=120,
        description="seconds; a dead network is seen within 48 s, three times this and a little",
    )
    publish_timeout: Seconds = Field(default=10, description="a blocked broker never answers")
    topology_check: Seconds = Field(
        default=30,
        le=120,
        description="until then a missing binding loses what is sent; a look takes 0.1 s, and "
        "after three minutes without one PartSilent warns",
    )
