"""The service, put together on a scratch database, where everything it does is seen."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import (
    dataclass,
    field,
    replace,  # feature: http_api
)
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID  # feature: row, rls, schema

import acme_orders
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import ConfigurationError  # feature: row, rls, schema
from acme_orders.chassis.messaging.envelope import encode
from acme_orders.chassis.migrations.files import FOLDER
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import Service, assemble
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness import catalog
from readiness.given import give
from readiness.letter import Letter
from readiness.migrated import migrate
from readiness.scratch import rows_of, scratch_database
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from readiness.waivers import Waiver
from readiness.watch import Watch, WatchedBroker, WatchedManager, installed


@dataclass(frozen=True)
class Subject:
    """What is inspected.

    Args:
        definition: of the service.
        settings: of the process; its database is never touched, only its server is used.
        migrations: folder of the schema.
        source: folder of the package.
        contracts: folder of what queries send; it may be missing.
        waivers: findings that may stay for a while.
        gives: whether the rows are stored that examples need.
        alter: SQL to run after migrating; the checks' own tests break the schema with it.
        prepare: called with every assembled service; likewise.
    """

    definition: Definition[Any]
    settings: ChassisSettings
    migrations: Path = FOLDER
    source: Path = Path(acme_orders.__file__).parent
    contracts: Path = Path("contracts")
    waivers: Sequence[Waiver] = ()
    gives: bool = True
    alter: str = ""
    prepare: Callable[[Service], None] | None = None


@dataclass(frozen=True)
class Call:
    """What calling a query led to."""

    statements: tuple[Statement, ...]
    error: Exception | None
    result: Any = None


@dataclass(frozen=True)
class Rehearsal:
    """A service whose schema is there and whose statements are recorded.

    Args:
        subject: what is inspected.
        url: of the scratch database.
        service: assembled, not running.
        statements: every statement so far.
        watch: what handlers and transactions did beside them.
        pattern: URL of a database that has the schema and nothing else; empty if there is none.
        memory: what one check has found out and others need as well, by who found it.
    """

    subject: Subject
    url: str
    service: Service
    statements: list[Statement] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    pattern: str = ""
    memory: dict[Any, Any] = field(default_factory=dict)

    def queries(self) -> Iterator[tuple[Repository, Query, str]]:
        """Every registered query with its repository and the name of its method."""
        for repository in self.service.repositories:
            for query, method in repository.queries():
                yield repository, query, method

    async def call(self, repository: Repository, query: Query, method: str) -> Call:
        """Call a query with its example inside a transaction, and undo what it did.

        It finds what the writes before it in its repository leave with theirs.
        """
        seen, failure, result = len(self.statements), None, None
        work_for(None if repository.across_tenants else TENANT)  # feature: row, rls, schema
        try:
            async with undone(self.service.manager, "readiness"):
                await self._begin_with_earlier_writes(repository, query)
                seen = len(self.statements)
                result = await getattr(repository, method)(**query.example)
                await self.service.manager.flush()
        except Exception as error:
            failure = error
        return Call(tuple(self.statements[seen:]), failure, result)

    async def _begin_with_earlier_writes(self, repository: Repository, query: Query) -> None:
        for earlier, method in repository.queries():
            if earlier.name == query.name:
                break
            if earlier.writes:
                with suppress(Exception):  # it is called for itself as well, and that one counts
                    async with self.service.manager.savepoint():
                        await getattr(repository, method)(**earlier.example)
                        await self.service.manager.flush()

    def letter(
        self,
        type_: str,
        identity: str,
        on_ack: Callable[[], Awaitable[None]] | None = None,
        *,
        # feature: row, rls, schema {
        tenant: UUID = TENANT,
        # feature: row, rls, schema }
        example: Mapping[str, Any] | None = None,
    ) -> Letter:
        """The first example of a handler's payload as a delivery, or another one.

        Raises:
            LookupError: the payload has no example.
        """
        content = example or self.service.handlers[type_].payload.example()
        body = json.dumps(content, default=str).encode()
        message = encode(
            identity,
            type_,
            "readiness",
            datetime.now(UTC),
            body,
            extensions={"tenant": str(tenant)},  # feature: row, rls, schema
        )
        return Letter(message, self.service.topology.main.name, on_ack)

    async def set_aside(self) -> int:
        """How many messages wait in the retry ladder or among the dead letters."""
        topology = self.service.topology
        names = [queue.name for queue in (*topology.ladder, topology.dead_letters)]
        return sum([await self.service.broker.count(name) for name in names])

    async def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Look at what is committed, from another connection."""
        return await asyncio.to_thread(rows_of, self.url, sql, parameters)

    @asynccontextmanager
    async def another(self, *, whole: bool = True) -> AsyncIterator["Rehearsal"]:
        """The same once more, on a database of its own."""
        with scratch_database(self.subject.settings.session_url, like=self.pattern) as url:
            async with rehearse(
                self.subject, url, whole=whole, pattern=self.pattern, migrated=not self.pattern
            ) as rehearsal:
                yield rehearsal


@asynccontextmanager
async def rehearse(
    subject: Subject,
    url: str,
    *,
    whole: bool,
    migrated: bool = True,
    pattern: str = "",
    memory: dict[Any, Any] | None = None,
) -> AsyncIterator[Rehearsal]:
    """Migrate the database at `url` and put the service together on it.

    Args:
        subject: what is inspected.
        url: of a scratch database.
        whole: make up for a missing key of the inbox, on which every handler depends.
        migrated: otherwise the database stays as it is: empty, or copied from `pattern`.
        pattern: URL of a database with the schema, from which this one and others are copied.
        memory: of the rehearsals of other checks of the same subject.

    Raises:
        NoSchema: a migration cannot be applied, or a row not be stored that examples need.
    """
    if migrated:
        await asyncio.to_thread(prepare, subject, url)
    if whole and (migrated or pattern):
        await asyncio.to_thread(catalog.restore_inbox_key, url)
    here = {
        "database_url": url,
        "database_session_url": None,
        "pool_size": 4,
        "slow_statement": 60,  # this measures nothing
        "tenant_guard": "off",  # feature: row, rls, schema
    }
    settings = subject.settings.model_copy(update=here)
    statements: list[Statement] = []
    metrics, watch = Metrics(), Watch()
    broker, observers = WatchedBroker(watch), (statements.append, watch.sent)
    with installed():
        async with WatchedManager(settings, metrics, watch, observers=observers) as manager:
            definition = subject.definition
            definition = replace(definition, guard=None)  # feature: http_api
            service = assemble(
                definition, settings, metrics=metrics, manager=manager, broker=broker
            )
            await broker.declare(service.topology.exchange, service.topology)
            if subject.gives and (migrated or pattern):
                await asyncio.to_thread(give, service, url)
            if subject.prepare:
                subject.prepare(service)
            memory = {} if memory is None else memory
            yield Rehearsal(subject, url, service, statements, watch, pattern, memory)


def prepare(subject: Subject, url: str) -> None:
    """Give an empty database the schema that is inspected.

    Raises:
        NoSchema: a migration cannot be applied.
    """
    migrate(subject.migrations, url)
    # feature: row, rls, schema {
    with suppress(ConfigurationError):  # the sample of a developer's database has it
        Tenants(url).add(TENANT, "one")
    # feature: row, rls, schema }
    migrate(subject.migrations, url)  # feature: schema
    if subject.alter:
        rows_of(url, subject.alter)
