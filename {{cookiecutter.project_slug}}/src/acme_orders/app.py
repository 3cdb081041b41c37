"""The composition root: the only module that sees every part and puts them together."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from starlette.types import ASGIApp  # feature: http_api

from acme_orders.api import api  # feature: http_api
from acme_orders.database.access import SERVICE_ROLE, verify_access
from acme_orders.database.lease import Timeouts
from acme_orders.database.manager import Manager
from acme_orders.database.migrate import Migrator
from acme_orders.database.repository import Query, Repository
from acme_orders.database.statements import Watch
from acme_orders.database.system_role import verify_system_role  # feature: rls
from acme_orders.errors import BrokerUnavailable
from acme_orders.http import listen, serve
from acme_orders.messaging import rabbitmq
from acme_orders.messaging.broker import Broker
from acme_orders.messaging.consumer import Consumer, Limits
from acme_orders.messaging.envelope import Handler
from acme_orders.messaging.inbox import Inbox
from acme_orders.messaging.memory import MemoryBroker
from acme_orders.messaging.outbox import Outbox, Pending
from acme_orders.messaging.recovery import Recovery
from acme_orders.messaging.relay import Relay
from acme_orders.messaging.topology import Topology
from acme_orders.observability.metrics import Metrics
from acme_orders.observability.probes import Probe, operations
from acme_orders.observability.tracing import Tracing  # feature: tracing
from acme_orders.orders.handlers import place_order
from acme_orders.orders.messages import ORDER_PLACED, OrderPlaced
from acme_orders.orders.repository import Orders
from acme_orders.settings import Settings

SERVICE = "acme-orders"
log = structlog.get_logger()


@dataclass(frozen=True)
class Service:
    """The parts of the service, put together but not yet running."""

    settings: Settings
    metrics: Metrics
    manager: Manager
    broker: Broker
    topology: Topology
    handlers: dict[str, Handler]
    repositories: tuple[Repository, ...]
    consumer: Consumer
    relay: Relay
    api: ASGIApp  # feature: http_api

    def queries(self) -> dict[str, tuple[Repository, Query, str]]:
        """Every registered query by its name: its repository, what is known, and its method."""
        return {
            query.name: (repository, query, method)
            for repository in self.repositories
            for query, method in repository.queries()
        }


def assemble(settings: Settings, *, metrics: Metrics, manager: Manager, broker: Broker) -> Service:
    """Put the parts together; nothing is connected or started here."""
    orders, outbox = Orders(manager), Outbox(manager)
    inbox, pending = Inbox(manager, SERVICE), Pending(manager)
    handlers = {
        ORDER_PLACED: Handler(OrderPlaced, partial(place_order, orders=orders, outbox=outbox)),
    }
    topology = Topology.of(
        SERVICE, handlers, ladder=settings.retry_ladder, delivery_limit=settings.delivery_limit
    )
    return Service(
        settings=settings,
        metrics=metrics,
        manager=manager,
        broker=broker,
        topology=topology,
        handlers=handlers,
        repositories=(orders, outbox, inbox, pending),
        consumer=Consumer(
            queue=topology.main.name,
            broker=broker,
            manager=manager,
            inbox=inbox,
            handlers=handlers,
            recovery=Recovery(broker, topology, metrics),
            limits=Limits(
                concurrency=settings.concurrency,
                batch_size=settings.batch_size,
                prefetch=settings.prefetch_count,
                handler_timeout=settings.handler_timeout,
                conflict_retries=settings.conflict_retries,
                hold_timeout=settings.hold_timeout,
                max_body_bytes=settings.max_body_bytes,
            ),
            metrics=metrics,
        ),
        relay=Relay(
            manager=manager,
            pending=pending,
            committed=outbox.committed,
            broker=broker,
            exchange=topology.exchange,
            source=SERVICE,
            batch=settings.relay_batch,
            lease=settings.relay_lease,
            poll=settings.relay_poll,
            metrics=metrics,
        ),
        api=api(manager, orders, outbox),  # feature: http_api
    )


def database(settings: Settings, metrics: Metrics) -> Manager:
    """The manager as it is configured."""
    return Manager(
        settings.database_url,
        size=settings.connections,
        metrics=metrics,
        max_age=settings.connection_max_age,
        role=SERVICE_ROLE,
        application=SERVICE,
        watch=Watch(
            slow=settings.slow_statement,
            repeats=settings.repeated_statements,
            comments=settings.sql_comments,
            tenant_guard=settings.tenant_guard,  # feature: row, rls, schema
        ),
        timeouts=Timeouts(
            acquire=settings.acquire_timeout,
            connect=settings.connect_timeout,
            statement=settings.statement_timeout,
            lock=settings.lock_timeout,
            idle_in_transaction=settings.idle_in_transaction_timeout,
        ),
    )


@asynccontextmanager
async def message_broker(settings: Settings) -> AsyncIterator[Broker]:
    """The broker that BROKER_URL names, connected."""
    if settings.broker_url.startswith("memory:"):
        yield MemoryBroker()
        return
    async with rabbitmq.connect(
        settings.broker_url,
        service=SERVICE,
        heartbeat=settings.heartbeat,
        publish_timeout=settings.publish_timeout,
    ) as broker:
        yield broker


@asynccontextmanager
async def connected(settings: Settings, metrics: Metrics) -> AsyncIterator[Service]:
    """The service with its connections open, its schema verified and its topology declared.

    Raises:
        ConfigurationError: migrations are pending, the role may do too much, PostgreSQL is too
            old, or RabbitMQ holds other queues of these names.
        DatabaseUnavailable: PostgreSQL does not answer.
        BrokerUnavailable: RabbitMQ does not answer.
    """
    async with database(settings, metrics) as manager, message_broker(settings) as broker:
        await asyncio.to_thread(Migrator(settings.database_url).verify)
        async with manager.connection() as lease:
            await verify_access(lease)
            await verify_system_role(lease)  # feature: rls
        service = assemble(settings, metrics=metrics, manager=manager, broker=broker)
        await broker.declare(service.topology)
        yield service


async def run(settings: Settings, *, only: str | None = None) -> None:
    """Run every part until the process is told to stop, then drain.

    Args:
        settings: of the process.
        only: run just the part of this name; the operations port is always served.
    """
    metrics, stop = Metrics(), asyncio.Event()
    tracing = Tracing(SERVICE)  # feature: tracing
    operations_socket = listen(settings.listen_host, settings.operations_port, "OPERATIONS_PORT")
    # feature: http_api {
    api_socket = None  # a process without this part leaves the port to another
    if only in (None, "api"):
        api_socket = listen(settings.listen_host, settings.http_port, "HTTP_PORT")
    # feature: http_api }
    async with connected(settings, metrics) as service:
        trace(service, tracing)  # feature: tracing
        ops = operations(metrics, _probes(service, stop))
        parts: dict[str, Callable[[asyncio.Event], Coroutine[Any, Any, None]]] = {
            "consumer": service.consumer.run,
            "relay": service.relay.run,
        }
        # feature: http_api {
        if api_socket is not None:
            parts["api"] = partial(serve, service.api, api_socket)
        # feature: http_api }
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(ops, operations_socket, stop))
            running = [
                group.create_task(part(stop), name=name)
                for name, part in parts.items()
                if only in (None, name)
            ]
            _stop_on_signals(stop, running, settings.drain_timeout)
            log.info("service.ready", port=operations_socket.getsockname()[1])
        log.info("service.stopped")
    tracing.close()  # feature: tracing


def _stop_on_signals(
    stop: asyncio.Event, running: list[asyncio.Task[None]], drain_timeout: float
) -> None:
    """Drain on the first SIGTERM or SIGINT; stop at the deadline, or at once on the second."""
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        for task in running:
            task.cancel()

    def on_signal() -> None:
        if stop.is_set():
            cancel()
            return
        log.info("service.draining", seconds=drain_timeout)
        stop.set()
        loop.call_later(drain_timeout, cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _probes(service: Service, stop: asyncio.Event) -> dict[str, Probe]:
    async def broker() -> None:
        if not service.broker.connected:
            raise BrokerUnavailable

    async def running() -> None:
        if stop.is_set():
            raise BrokerUnavailable("the process is stopping")

    return {"postgresql": service.manager.ping, "broker": broker, "running": running}


# feature: tracing {
def trace(service: Service, tracing: Tracing) -> None:
    """Make spans for every handled message and every statement of this service."""
    for type_, handler in service.handlers.items():
        service.handlers[type_] = Handler(handler.payload, tracing.handler(type_, handler.handle))
    service.manager.observe(tracing.statement)


# feature: tracing }
