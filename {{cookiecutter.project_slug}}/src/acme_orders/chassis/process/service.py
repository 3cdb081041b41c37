"""The composition root: the only module that sees every part and puts them together."""

import asyncio
import sys
from collections.abc import Callable  # feature: http_api
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from starlette.types import ASGIApp  # feature: http_api

from acme_orders.chassis.backfills.reported import BackfillReport, BackfillRuns
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.dead_letters.archiver import (
    LARGEST_BODY,
    Archiver,
    reasons,
)
from acme_orders.chassis.dead_letters.store import DeadLetters
from acme_orders.chassis.http.kept_answers import KeptAnswers  # feature: http_api
from acme_orders.chassis.messaging.broker import Broker
from acme_orders.chassis.messaging.canary import Canary
from acme_orders.chassis.messaging.consumer import Consumer
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.inbox import Inbox
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.messaging.recovery import Recovery
from acme_orders.chassis.messaging.topology import Topology
from acme_orders.chassis.messaging.triage import Triage
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.retained import deleting
from acme_orders.chassis.rabbitmq.topology_watch import TopologyWatch
from acme_orders.chassis.relay.queries import RelayQueries
from acme_orders.chassis.relay.relay import Relay
from acme_orders.chassis.retention.deleter import Deleter
from acme_orders.chassis.retention.finding import KINDS
from acme_orders.chassis.retention.reported import RetentionReport
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice
from acme_orders.chassis.supervision import Supervisor

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
    deleter: Deleter
    retention_report: RetentionReport
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

    def begin(self) -> None:
        """Make the series of all that can happen here, as far as code knows it."""
        topology = self.topology
        self.metrics.begin(
            consumed=[topology.main.name, topology.suspects.name],
            ladder=[each.name for each in topology.ladder],
            declared=[topology.exchange, *(each.name for each in topology)],
            handled=self.handlers,
            counted=[*self.handlers, "other"],
            reasons=[*sorted(reasons()), "other"],
            published={event.name for each in self.slices for event in each.publishes},
            retried=["consume"],
            queries=self.queries(),
            policies=self.retention_report.policies,
            findings=KINDS,
        )

    async def delete(self, stop: asyncio.Event) -> None:
        """Delete what has been kept long enough until `stop` is set."""
        await self.supervisor.keep("retention", partial(self.deleter.run, stop), stop)

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
    answers = KeptAnswers(manager)  # feature: http_api
    dead_letters, backfill_runs = DeadLetters(manager), BackfillRuns(manager)
    deleter, report = deleting(settings, slices, metrics)
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
    main = consumer(part="consumer", queue=topology.main.name, settings=settings)
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
            answers,  # feature: http_api
        ),
        consumer=main,
        # One message at a time: one that ends the process takes no other suspect with it. In an
        # outage it is put back soon: whatever ends the process then, it was not the message.
        suspects=consumer(
            part="suspects",
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
        deleter=deleter,
        retention_report=report,
        # feature: http_api {
        api=partial(_api, definition, slices, manager, answers, settings=settings, metrics=metrics),
        # feature: http_api }
    )


# feature: http_api {
def _api(
    definition: Definition[Any], slices: tuple[Slice, ...], *others: Any, **more: Any
) -> ASGIApp:
    # FastAPI is half of all that is imported, and only a process that serves the API needs it.
    from acme_orders.chassis.http.api import api  # noqa: PLC0415
    from acme_orders.chassis.process.described import version_of  # noqa: PLC0415

    routers = {each.name: each.routes() for each in slices if each.routes}
    guard = definition.guard(more["settings"]) if definition.guard else None
    version = version_of(definition)
    return api(definition.title, routers, *others, version=version, guard=guard, **more)


# feature: http_api }
