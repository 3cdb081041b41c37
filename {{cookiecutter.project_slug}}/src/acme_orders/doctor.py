"""What is wrong around the service. Each part is looked at, whatever the others say."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from acme_orders.app import assemble, database, message_broker, verify
from acme_orders.errors import ConfigurationError, ServiceError
from acme_orders.messaging import topology
from acme_orders.messaging.topology import QueueState
from acme_orders.observability.metrics import Metrics
from acme_orders.settings import Settings


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


async def examine(settings: Settings) -> list[Finding]:
    """Look at PostgreSQL, the schema, RabbitMQ and its queues."""
    return [
        Finding("settings", f"can be read; ENVIRONMENT={settings.environment}"),
        *await _tried("PostgreSQL", lambda: _postgresql(settings)),
        *await _tried("RabbitMQ", lambda: _rabbitmq(settings)),
    ]


async def inspect_queues(settings: Settings) -> list[QueueState]:
    """Each queue as it should be and as it is; nothing is created or changed.

    Raises:
        BrokerUnavailable: RabbitMQ does not answer.
    """
    metrics = Metrics()
    manager = database(settings, metrics)  # never opened
    async with message_broker(settings, metrics) as broker:
        service = assemble(settings, metrics=metrics, manager=manager, broker=broker)
        return await broker.inspect(service.topology)


async def _postgresql(settings: Settings) -> list[Finding]:
    async with database(settings, Metrics()) as manager:
        await manager.ping()
        await verify(settings, manager)
    return [Finding("PostgreSQL", "answers, takes writes, has the schema of this version")]


async def _rabbitmq(settings: Settings) -> list[Finding]:
    return [_queue(state) for state in await inspect_queues(settings)]


def _queue(state: QueueState) -> Finding:
    part = f"queue {state.queue.name}"
    match state.problem:
        case None:
            return Finding(part, f"{state.messages} messages, {state.consumers} consumers")
        case topology.MISSING:
            return Finding(part, "is not there; the service makes it when it starts")
        case problem:
            return Finding(part, problem=ConfigurationError(f"{problem}; see `topology`"))


async def _tried(part: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await look()
    except ServiceError as error:
        return [Finding(part, problem=error)]
