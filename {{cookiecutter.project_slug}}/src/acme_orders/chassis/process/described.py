"""What a service says of itself without servers: its slices, and the document of its messages."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.messaging.asyncapi import asyncapi
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.messaging.topology import EXCHANGE
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice

_NOWHERE = "postgresql://nobody@localhost/none"


def unconnected(
    definition: Definition[Any], settings: ChassisSettings | None = None
) -> tuple[Slice, ...]:
    """The slices of a service, to be looked at; nothing is connected.

    Args:
        definition: of the service.
        settings: of the process. Without them nobody has to set anything: no slice may need a
            setting to say what it has.

    Raises:
        ConfigurationError: they do not go together.
    """
    settings = settings or unset(definition)
    manager = Manager(settings, Metrics())
    return definition.built_on(Chassis(settings, manager, Outbox(manager)))


def messages_of(definition: Definition[Any]) -> dict[str, Any]:
    """The AsyncAPI document; raises ConfigurationError."""
    slices = unconnected(definition)
    return asyncapi(
        title=definition.title,
        version=version_of(definition),
        queue=definition.name,
        exchange=EXCHANGE,
        accepts={type_: each.payload for one in slices for type_, each in one.handlers.items()},
        publishes={each.name: each.payload for one in slices for each in one.publishes},
    )


def unset(definition: Definition[Any]) -> Any:
    """Settings of nobody, who has connected nothing."""
    return definition.settings.model_construct(database_url=_NOWHERE, pool_size=1)


def version_of(definition: Definition[Any]) -> str:
    """The version that is installed."""
    try:
        return version(definition.name)
    except PackageNotFoundError:  # its code is run without being installed
        return "0"
