"""For each metric the event that its help text names, made to happen to a running service."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from acme_orders.chassis.process.service import Service

HOUR_AGO = "now() - interval '1 hour'"


@dataclass(frozen=True)
class Cause:
    """An event, and what it moves.

    Args:
        families: of metrics.
        happens: makes it happen; the metrics have moved before the end of its block.
        settings: of the service that it happens to.
        on_rabbitmq: whether it needs a real broker.
    """

    families: frozenset[str]
    happens: Callable[[Service], AbstractAsyncContextManager[None]]
    settings: dict[str, Any]
    on_rabbitmq: bool


CAUSES: dict[str, Cause] = {}


def moves(*families: str, on_rabbitmq: bool = False, **settings: Any) -> Callable[[Any], Any]:
    """This event moves these families."""

    def register(happens: Any) -> Any:
        made = asynccontextmanager(happens)
        CAUSES[happens.__name__] = Cause(frozenset(families), made, settings, on_rabbitmq)
        return happens

    return register


def value(service: Service, name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels."""
    found = service.metrics.registry.collect()
    return sum(
        sample.value
        for family in found
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
