"""The composition root: the only module that sees every part and puts them together."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from starlette.types import ASGIApp  # feature: http_api

from acme_orders.chassis.backfills.reported import BackfillReport, BackfillRuns
from acme_orders.chassis.database.access import SERVICE_ROLE, verify_access
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.dead_letters.archiver import LARGEST_BODY, Archiver
from acme_orders.chassis.dead_letters.store import DeadLetters
from acme_orders.chassis.errors import BrokerUnavailable, DatabaseUnavailable
from acme_orders.chassis.http.clients import ClientLimits, Clients
from acme_orders.chassis.http.server import listen, serve
from acme_orders.chassis.messaging.broker import Broker
from acme_orders.chassis.messaging.canary import Canary
from acme_orders.chassis.messaging.consumer import Consumer
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.inbox import Inbox
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.messaging.recovery import Recovery
from acme_orders.chassis.messaging.topology import Topology
from acme_orders.chassis.messaging.triage import Triage
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.loop import watch_loop
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.probes import Probe, operations
from acme_orders.chassis.observability.tracing import Tracing  # feature: tracing
from acme_orders.chassis.process.descriptors import make_room
from acme_orders.chassis.process.shutdown import Shutdown, closed_quickly
from acme_orders.chassis.rabbitmq import broker as rabbitmq
from acme_orders.chassis.rabbitmq.topology_watch import TopologyWatch
from acme_orders.chassis.relay.queries import RelayQueries
from acme_orders.chassis.relay.relay import Relay
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice
from acme_orders.chassis.supervision import Supervisor
from acme_orders.chassis.tenancy.system_role import verify_system_role  # feature: rls

_SUSPECT_HOLD = 5.0  # seconds; a copy has its deliveries before it
_PROBE_TIMEOUT = 2.0  # seconds; whoever asks gives up soon after
log = structlog.get_logger()


@dataclass(frozen=True)
class Service:
    """The parts of the service, put together but not yet running."""

    name: str
    slices: tuple[Slice, ...]
    settings: ChassisSettings
    metrics: Metrics
    manager: Manager
    broker: Broker
    topology: Topology
    handlers: dict[str, Handler]
    repositories: tuple[Repository, ...]
    consumer: Consumer
    suspects: Consumer
    triage: Triage
    dead_letters: DeadLetters
    relay_queries: RelayQueries
    backfill_report: BackfillReport
    archiver: Archiver
    relay: Relay
    topology_watch: TopologyWatch
    supervisor: Supervisor
    api: Callable[[], ASGIApp]  # feature: http_api

    async def consume(self, stop: asyncio.Event) -> None:
        """Process messages, and archive those that were set aside, until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            for name, part in (
                ("consumer", self.consumer.run),
                ("suspects", self.suspects.run),
                ("archiver", self.archiver.run),
            ):
                group.create_task(self.supervisor.keep(name, partial(part, stop), stop))

    async def publish(self, stop: asyncio.Event) -> None:
        """Publish events until `stop` is set."""
        await self.supervisor.keep("relay", partial(self.relay.run, stop), stop)

    def queries(self) -> dict[str, tuple[Repository, Query, str]]:
        """Every registered query by its name: its repository, what is known, and its method."""
        return {
            query.name: (repository, query, method)
            for repository in self.repositories
            for query, method in repository.queries()
        }


def assemble(
    definition: Definition[Any],
    settings: ChassisSettings,
    *,
    metrics: Metrics,
    manager: Manager,
    broker: Broker,
    supervisor: Supervisor | None = None,
) -> Service:
    """Put the parts together; nothing is connected or started here.

    Raises:
        ConfigurationError: slices do not go together.
    """
    name, supervisor = definition.name, supervisor or Supervisor(metrics)
    largest_body = settings.max_body_bytes
    outbox = Outbox(manager, largest_body=largest_body)
    slices = definition.built_on(Chassis(settings, manager, outbox))
    inbox = Inbox(manager, name, window=settings.inbox_retention)
    relay_queries = RelayQueries.of(manager, largest_body=largest_body)
    dead_letters, backfill_runs = DeadLetters(manager), BackfillRuns(manager)
    handlers = {type_: each for one in slices for type_, each in one.handlers.items()}
    topology = Topology.of(
        name,
        handlers,
        ladder=settings.retry_ladder,
        delivery_limit=settings.delivery_limit,
        suspect_deliveries=settings.suspect_deliveries,
    )
    triage = Triage(Canary(manager, inbox, outbox), settings, metrics)
    consumer = partial(
        Consumer,
        broker=broker,
        manager=manager,
        inbox=inbox,
        handlers=handlers,
        recovery=Recovery(broker, topology, metrics, service=name),
        triage=triage,
        metrics=metrics,
        supervisor=supervisor,
    )
    main = consumer(queue=topology.main.name, settings=settings)
    return Service(
        name=name,
        slices=slices,
        triage=triage,
        settings=settings,
        metrics=metrics,
        manager=manager,
        broker=broker,
        topology=topology,
        handlers=handlers,
        repositories=(
            *(repository for each in slices for repository in each.repositories),
            *(outbox, inbox, dead_letters, *relay_queries, backfill_runs),
        ),
        consumer=main,
        # One message at a time: one that ends the process takes no other suspect with it. In an
        # outage it is put back soon: whatever ends the process then, it was not the message.
        suspects=consumer(
            queue=topology.suspects.name,
            settings=settings.model_copy(
                update={
                    "concurrency": 1,
                    "batch_size": 1,
                    "prefetch": 1,
                    "hold_timeout": min(settings.hold_timeout, _SUSPECT_HOLD),
                    "suspect_after": sys.maxsize,
                }
            ),
        ),
        dead_letters=dead_letters,
        relay_queries=relay_queries,
        backfill_report=BackfillReport(manager, backfill_runs, metrics),
        archiver=Archiver(
            queue=topology.dead_letters.name,
            broker=broker,
            manager=manager,
            dead_letters=dead_letters,
            has_processed=main.has_processed,
            metrics=metrics,
            supervisor=supervisor,
            largest_body=max(LARGEST_BODY, largest_body),
        ),
        relay=Relay(
            manager=manager,
            queries=relay_queries,
            committed=outbox.committed,
            broker=broker,
            exchange=topology.exchange,
            source=name,
            needed={
                event.name for each in slices for event in each.publishes if event.needs_listener
            },
            settings=settings,
            metrics=metrics,
        ),
        topology_watch=TopologyWatch(
            broker, topology, every=settings.topology_check, metrics=metrics
        ),
        supervisor=supervisor,
        # feature: http_api {
        api=partial(_api, definition.title, slices, manager, settings=settings, metrics=metrics),
        # feature: http_api }
    )


# feature: http_api {
def _api(title: str, slices: tuple[Slice, ...], manager: Manager, **others: Any) -> ASGIApp:
    # FastAPI is half of all that is imported, and only a process that serves the API needs it.
    from acme_orders.chassis.http.api import api  # noqa: PLC0415

    routers = [each.routes() for each in slices if each.routes]
    return api(title, routers, manager, **others)


# feature: http_api }
def database(name: str, settings: ChassisSettings, metrics: Metrics) -> Manager:
    """The manager of this service as it is configured."""
    return Manager(settings, metrics, role=SERVICE_ROLE, application=name)


@asynccontextmanager
async def message_broker(
    name: str, settings: ChassisSettings, metrics: Metrics, supervisor: Supervisor | None = None
) -> AsyncIterator[Broker]:
    """The broker that BROKER_URL names, connected."""
    if settings.broker_url.startswith("memory:"):
        yield MemoryBroker()
        return
    async with rabbitmq.connect(
        settings, service=name, metrics=metrics, supervisor=supervisor
    ) as broker:
        yield broker


async def verify(settings: ChassisSettings, manager: Manager) -> None:
    """Check that the schema and the role are those that this version was written for.

    Raises:
        ConfigurationError: migrations are pending, or the role may do too much.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    limit = settings.statement_timeout
    try:
        async with asyncio.timeout(limit):
            await asyncio.to_thread(Migrator(settings.database_url).verify)
    except TimeoutError as error:
        raise DatabaseUnavailable(
            f"no answer within {limit:g} s (STATEMENT_TIMEOUT): PostgreSQL or the network hangs"
        ) from error
    async with manager.connection() as lease:
        await verify_access(lease)
        await verify_system_role(lease)  # feature: rls


@asynccontextmanager
async def connected(
    definition: Definition[Any],
    settings: ChassisSettings,
    metrics: Metrics,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[Service]:
    """The service with its connections open, its schema verified and its topology declared.

    Raises:
        ConfigurationError: slices do not go together, migrations are pending, the role may do too
            much, PostgreSQL is too old, or RabbitMQ holds other queues of these names.
        DatabaseUnavailable: PostgreSQL does not answer.
        BrokerUnavailable: RabbitMQ does not answer.
    """
    name, supervisor = definition.name, supervisor or Supervisor(metrics)
    async with (
        closed_quickly(database(name, settings, metrics)) as manager,
        closed_quickly(message_broker(name, settings, metrics, supervisor)) as broker,
    ):
        await verify(settings, manager)
        service = assemble(
            definition,
            settings,
            metrics=metrics,
            manager=manager,
            broker=broker,
            supervisor=supervisor,
        )
        await broker.declare(service.topology.exchange, service.topology)
        yield service


async def run(
    definition: Definition[Any],
    settings: ChassisSettings,
    metrics: Metrics,
    *,
    only: str | None = None,
) -> None:
    """Run every part until the process is told to stop, then drain.

    Args:
        definition: of the service.
        settings: of the process.
        metrics: of the process.
        only: run just the part of this name; the operations port is always served.
    """
    supervisor = Supervisor(metrics)
    with Shutdown(settings.drain_timeout, metrics) as shutdown, ExitStack() as stack:
        # feature: tracing {
        tracing = Tracing(definition.name)
        stack.callback(tracing.close)
        # feature: tracing }
        ports = {"operations": ClientLimits()}
        # feature: http_api {
        if only in (None, "api"):
            ports["api"] = ClientLimits(
                clients=settings.http_clients,
                patience=settings.http_patience,
                idle=settings.http_idle,
            )
        # feature: http_api }
        sockets = sum(limits.descriptors for limits in ports.values())
        make_room(sockets, connections=settings.connections)
        clients = {port: _clients(metrics, port, limits) for port, limits in ports.items()}
        host = settings.listen_host
        operations_socket = stack.enter_context(
            listen(host, settings.operations_port, "OPERATIONS_PORT")
        )
        # feature: http_api {
        api_socket = None  # a process without this part leaves the port to another
        if "api" in ports:
            api_socket = stack.enter_context(listen(host, settings.http_port, "HTTP_PORT"))
        if only == "api":  # it stores events in the outbox, and needs no RabbitMQ for that
            settings = settings.model_copy(update={"broker_url": "memory://"})
        # feature: http_api }
        async with (
            watch_loop(metrics, supervisor, limit=settings.loop_lag_limit),
            connected(definition, settings, metrics, supervisor) as service,
        ):
            trace(service, tracing)  # feature: tracing
            parts: dict[str, Callable[[asyncio.Event], Coroutine[Any, Any, None]]] = {
                "consumer": service.consume,
                "relay": service.publish,
            }
            # feature: http_api {
            if api_socket is not None:
                parts["api"] = partial(serve, service.api(), api_socket, clients=clients["api"])
            # feature: http_api }
            probes = _probes(service, shutdown.stop)
            ops = operations(metrics, probes, service.backfill_report.update)
            drained = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(ops, operations_socket, drained, clients["operations"]))
                running = [
                    group.create_task(part(shutdown.stop), name=name)
                    for name, part in parts.items()
                    if only in (None, name)
                ]
                keep = service.supervisor.keep
                watch = group.create_task(keep("topology", service.topology_watch.run))
                shutdown.drain(running)
                log.info("service.ready", port=operations_socket.getsockname()[1])
                try:
                    await asyncio.wait(running)
                finally:
                    shutdown.close()
                watch.cancel()
                drained.set()  # so long the probes answer, and the metrics show how it goes
    log.info("service.stopped", seconds=round(shutdown.elapsed, 2))


def _clients(metrics: Metrics, port: str, limits: ClientLimits) -> Clients:
    clients = Clients(limits, refused=lambda reason: metrics.http_refused.labels(reason).inc())
    metrics.http_clients.labels(port).set_function(lambda: len(clients))
    return clients


def _probes(service: Service, stop: asyncio.Event) -> dict[str, Probe]:
    async def postgresql() -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                await service.manager.ping()
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no answer within {_PROBE_TIMEOUT:g} s") from error

    async def broker() -> None:
        if not service.broker.connected:
            raise BrokerUnavailable

    async def running() -> None:
        if stop.is_set():
            raise BrokerUnavailable("the process is stopping")

    return {
        "postgresql": postgresql,
        "broker": broker,
        "consumer": service.triage.check,
        "relay": service.relay.check,
        "running": running,
        "parts": service.supervisor.check,
        "topology": service.topology_watch.check,
    }


# feature: tracing {
def trace(service: Service, tracing: Tracing) -> None:
    """Make spans for every handled message and every statement of this service."""
    for type_, handler in service.handlers.items():
        service.handlers[type_] = replace(
            handler,
            handle=tracing.handler(type_, handler.handle),
            handle_all=handler.handle_all and tracing.handler(type_, handler.handle_all),
        )
    service.manager.observe(tracing.statement)


# feature: tracing }
