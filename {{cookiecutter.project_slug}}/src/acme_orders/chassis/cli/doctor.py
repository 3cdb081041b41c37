"""What is wrong around the service. Each part is looked at, whatever the others say."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.messaging.topology import MISSING, State
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import (
    database,
    message_broker,
    verify,
)
from acme_orders.chassis.process.service import assemble
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part.

    Args:
        part: that was looked at.
        says: what is there.
        problem: why the service can't work with it, and what helps.
    """

    part: str
    says: str = ""
    problem: ServiceError | None = None


async def examine(definition: Definition[Any], settings: ChassisSettings) -> list[Finding]:
    """Look at PostgreSQL, the schema, RabbitMQ and its queues."""
    return [
        Finding("settings", f"can be read; ENVIRONMENT={settings.environment}"),
        *await _tried("PostgreSQL", lambda: _postgresql(definition, settings)),
        *await _tried("RabbitMQ", lambda: _rabbitmq(definition, settings)),
    ]


async def inspect_topology(
    definition: Definition[Any], settings: ChassisSettings
) -> tuple[list[State], str | None]:
    """The exchange and each queue as they should be and as they are; nothing is changed.

    Returns:
        All of them, and why bindings and policies were not seen, if they were not.

    Raises:
        BrokerUnavailable: RabbitMQ does not answer.
    """
    name, metrics = definition.name, Metrics()
    manager = database(name, settings, metrics)  # never opened
    async with message_broker(name, settings, metrics) as broker:
        service = assemble(definition, settings, metrics=metrics, manager=manager, broker=broker)
        topology = service.topology
        return await broker.inspect(topology.exchange, topology), broker.unseen


async def _postgresql(definition: Definition[Any], settings: ChassisSettings) -> list[Finding]:
    async with database(definition.name, settings, Metrics()) as manager:
        await manager.ping()
        await verify(settings, manager)
    return [Finding("PostgreSQL", "answers, takes writes, has the schema of this version")]


async def _rabbitmq(definition: Definition[Any], settings: ChassisSettings) -> list[Finding]:
    states, unseen = await inspect_topology(definition, settings)
    found = [finding for state in states for finding in _findings(state)]
    return [*found, _seen(unseen)]


def _findings(state: State) -> Iterator[Finding]:
    if not state.problems:
        counts = f"{state.messages} messages, {state.consumers} consumers"
        yield Finding(state.part, counts if state.queue else "is there")
    for problem in state.problems:
        if problem == MISSING:
            yield Finding(state.part, f"{problem.what}; {problem.helps}")
        else:
            error = ConfigurationError(f"{problem.what}; {problem.helps}")
            yield Finding(state.part, problem=error)


def _seen(unseen: str | None) -> Finding:
    return Finding(
        "bindings and policies",
        "were looked at" if unseen is None else f"cannot be seen: {unseen}",
    )


async def _tried(part: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await look()
    except ServiceError as error:
        return [Finding(part, problem=error)]
