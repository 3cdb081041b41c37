"""The process: it runs every part until it is told to stop, then drains."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from functools import partial  # feature: http_api
from typing import Any

import structlog

from acme_orders.chassis.dead_letters.replay import Replay
from acme_orders.chassis.errors import BrokerUnavailable, DatabaseUnavailable
from acme_orders.chassis.http.clients import ClientLimits, Clients
from acme_orders.chassis.http.measured import Measured, named
from acme_orders.chassis.http.server import listen, serve
from acme_orders.chassis.migrations.reported import MigrationReport
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.loop import watch_loop
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.probes import Probe, operations
from acme_orders.chassis.observability.tracing import Tracing  # feature: tracing
from acme_orders.chassis.operations.access import Access
from acme_orders.chassis.operations.page import Page
from acme_orders.chassis.operations.queries import Queries
from acme_orders.chassis.operations.state import State
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.described import version_of
from acme_orders.chassis.process.descriptors import make_room
from acme_orders.chassis.process.erased import eraser_of
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.process.shutdown import Shutdown
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.supervision import Supervisor

_REPLAYS = 50.0  # in a second, by the page
_PROBE_TIMEOUT = 2.0  # seconds; whoever asks gives up soon after
_ALLOCATIONS = 3_000  # until the garbage collector looks; at Python's 700 it took 6 % of a consumer
_DATABASE_ALONE = ("retention", "api")  # what the API announces waits in the outbox
log = structlog.get_logger()


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
    gc.freeze()  # what is imported stays: each full collection would go through all of it
    gc.set_threshold(_ALLOCATIONS)
    supervisor = Supervisor(metrics)
    with Shutdown(settings.drain_timeout, metrics) as shutdown, ExitStack() as stack:
        # feature: tracing {
        tracing = Tracing(definition.name, settings.trace_share)
        stack.callback(lambda: tracing.close(within=shutdown.left))
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
        # feature: http_api }
        if only in _DATABASE_ALONE:
            settings = settings.model_copy(update={"broker_url": "memory://"})
        async with (
            watch_loop(metrics, supervisor, limit=settings.loop_lag_limit),
            connected(definition, settings, metrics, supervisor) as service,
        ):
            service.begin()
            service.manager.observe(tracing.statement)  # feature: tracing
            parts: dict[str, Callable[[asyncio.Event], Coroutine[Any, Any, None]]] = {
                "consumer": service.consume,
                "relay": service.publish,
            }
            watched = [service.topology_watch.run] if only in (None, *parts) else []
            parts["retention"] = service.delete
            # feature: http_api {
            if api_socket is not None:
                parts["api"] = partial(serve, service.api(), api_socket, clients=clients["api"])
            # feature: http_api }
            migrations = MigrationReport(Migrator(settings.session_url), metrics)
            updates = (
                service.backfill_report.update,
                service.retention_report.update,
                migrations.update,
            )
            probed = probes(service, shutdown.stop, only=only)
            page = _page(definition, service, probed, consumes=only in (None, "consumer"))
            app = operations(metrics, probed, *updates, pages=page.routes())
            ops = Measured(app, named(app.routes), port="operations", metrics=metrics)
            drained = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(ops, operations_socket, drained, clients["operations"]))
                running = [
                    group.create_task(part(shutdown.stop), name=name)
                    for name, part in parts.items()
                    if only in (None, name)
                ]
                keep = service.supervisor.keep
                watches = [group.create_task(keep("topology", watch)) for watch in watched]
                shutdown.drain(running)
                log.info("service.ready", port=operations_socket.getsockname()[1])
                try:
                    await asyncio.wait(running)
                finally:
                    shutdown.close()
                for watch in watches:
                    watch.cancel()
                drained.set()  # so long the probes answer, and the metrics show how it goes
    log.info("service.stopped", seconds=round(shutdown.elapsed, 2))


def _clients(metrics: Metrics, port: str, limits: ClientLimits) -> Clients:
    clients = Clients(limits, refused=lambda reason: metrics.http_refused.labels(reason).inc())
    metrics.http_clients.labels(port).set_function(lambda: len(clients))
    return clients


def _page(
    definition: Definition[Any], service: Service, probes: Mapping[str, Probe], *, consumes: bool
) -> Page:
    """For people. Where nobody consumes there may be no broker that a replay would reach."""
    settings = service.settings
    replay = Replay(
        queue=service.topology.main.name,
        broker=service.broker,
        manager=service.manager,
        dead_letters=service.dead_letters,
        set_aside=service.relay_queries.set_aside,
        rate=_REPLAYS,
    )
    metrics, url = service.metrics, settings.session_url
    queries = Queries(metrics, service.manager, service.queries(), url=url)
    return Page(
        definition.title,
        access=Access(settings.operations_token),
        state=State(
            service.metrics,
            probes,
            dead_letters=service.dead_letters,
            outbox=service.relay_queries.backlog,
            migrator=Migrator(settings.session_url),
            eraser=eraser_of(settings, service.slices),
            queries=queries,
            version=version_of(definition),
        ),
        queries=queries,
        dead_letters=service.dead_letters,
        handlers=service.handlers,
        largest_body=settings.max_body_bytes,
        replay=replay if consumes else None,
    )


def probes(service: Service, stop: asyncio.Event, *, only: str | None = None) -> dict[str, Probe]:
    """What has to work before this process may receive work; nothing of parts that it has not."""

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

    needed: dict[str, Probe] = {
        "postgresql": postgresql,
        "broker": broker,
        "consumer": service.triage.check,
        "relay": service.relay.check,
        "running": running,
        "parts": service.supervisor.check,
        "topology": service.topology_watch.check,
    }
    absent = {"consumer", "relay"} - {only} if only else set[str]()
    absent |= {"broker", "topology"} if only in _DATABASE_ALONE else set()
    return {name: probe for name, probe in needed.items() if name not in absent}
