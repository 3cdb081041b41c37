"""The service, put together on a scratch database, where everything it does is seen."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID  # feature: row, rls, schema

import acme_orders
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import encode
from acme_orders.chassis.messaging.memory import MemoryBroker
from acme_orders.chassis.migrations.files import FOLDER, text_of
from acme_orders.chassis.migrations.header import header_of
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import Service, assemble
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Definition
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness import catalog
from readiness.scratch import rows_of, scratch_database
from readiness.two_tenants import TENANT  # feature: row, rls, schema


@dataclass(frozen=True)
class Subject:
    """What is inspected.

    Args:
        definition: of the service.
        settings: of the process; its database is never touched, only its server is used.
        migrations: folder of the schema.
        source: folder of the package.
        contracts: folder of what queries send; it may be missing.
        alter: SQL to run after migrating; the checks' own tests break the schema with it.
        prepare: called with every assembled service; likewise.
    """

    definition: Definition[Any]
    settings: ChassisSettings
    migrations: Path = FOLDER
    source: Path = Path(acme_orders.__file__).parent
    contracts: Path = Path("contracts")
    alter: str = ""
    prepare: Callable[[Service], None] | None = None


@dataclass(frozen=True)
class Call:
    """What calling a query led to."""

    statements: tuple[Statement, ...]
    error: Exception | None


@dataclass(eq=False)
class Letter:
    """A delivery that remembers what became of it."""

    message: Message
    queue: str
    on_ack: Callable[[], Awaitable[None]] | None = None
    returns: int = 0
    acked: int = 0

    @property
    def open(self) -> bool:
        """Whether it is not acknowledged yet."""
        return not self.acked

    async def ack(self) -> None:
        """Count it, after telling whoever wants to look around first."""
        if self.on_ack:
            await self.on_ack()
        self.acked += 1

    async def release(self) -> None:
        """Nothing: whoever looks finds it not acknowledged."""


@dataclass(frozen=True)
class Rehearsal:
    """A service whose schema is there and whose statements are recorded.

    Args:
        subject: what is inspected.
        url: of the scratch database.
        service: assembled, not running.
        statements: every statement so far.
    """

    subject: Subject
    url: str
    service: Service
    statements: list[Statement] = field(default_factory=list)

    def queries(self) -> Iterator[tuple[Repository, Query, str]]:
        """Every registered query with its repository and the name of its method."""
        for repository in self.service.repositories:
            for query, method in repository.queries():
                yield repository, query, method

    async def call(self, repository: Repository, query: Query, method: str) -> Call:
        """Call a query with its example inside a transaction, and undo what it did.

        It finds what the writes before it in its repository leave with theirs.
        """
        seen, failure = len(self.statements), None
        work_for(None if repository.across_tenants else TENANT)  # feature: row, rls, schema
        try:
            async with undone(self.service.manager, "readiness"):
                await self._begin_with_earlier_writes(repository, query)
                seen = len(self.statements)
                await getattr(repository, method)(**query.example)
                await self.service.manager.flush()
        except Exception as error:
            failure = error
        return Call(tuple(self.statements[seen:]), failure)

    async def _begin_with_earlier_writes(self, repository: Repository, query: Query) -> None:
        for earlier, method in repository.queries():
            if earlier is query:
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
        # feature: row, rls, schema {
        *,
        tenant: UUID = TENANT,
        # feature: row, rls, schema }
    ) -> Letter:
        """The example of a handler's payload as a delivery.

        Raises:
            LookupError: the payload has no example.
        """
        example = self.service.handlers[type_].payload.example()
        body = json.dumps(example, default=str).encode()
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
        with scratch_database(self.subject.settings.database_url) as url:
            async with rehearse(self.subject, url, whole=whole) as rehearsal:
                yield rehearsal


@asynccontextmanager
async def rehearse(subject: Subject, url: str, *, whole: bool) -> AsyncIterator[Rehearsal]:
    """Migrate the empty database at `url` and put the service together on it.

    Args:
        subject: what is inspected.
        url: of a scratch database.
        whole: make up for a missing key of the inbox, on which every handler depends.
    """
    await asyncio.to_thread(_prepare, subject, url, whole=whole)
    here = {
        "database_url": url,
        "pool_size": 4,
        "slow_statement": 60,  # this measures nothing
        "tenant_guard": "off",  # feature: row, rls, schema
    }
    settings = subject.settings.model_copy(update=here)
    statements: list[Statement] = []
    metrics, broker = Metrics(), MemoryBroker()
    observers = (statements.append,)
    async with Manager(settings, metrics, role=SERVICE_ROLE, observers=observers) as manager:
        service = assemble(
            subject.definition, settings, metrics=metrics, manager=manager, broker=broker
        )
        await broker.declare(service.topology.exchange, service.topology)
        if subject.prepare:
            subject.prepare(service)
        yield Rehearsal(subject, url, service, statements)


def _prepare(subject: Subject, url: str, *, whole: bool) -> None:
    migrate(subject, url)
    Tenants(url).add(TENANT, "one")  # feature: row, rls, schema
    migrate(subject, url)  # feature: schema
    if subject.alter:
        rows_of(url, subject.alter)
    if whole:
        catalog.restore_inbox_key(url)


def migrate(subject: Subject, url: str) -> None:
    """Apply the migrations that are inspected."""
    with TemporaryDirectory() as folder:
        # A missing down file, or a head that cannot be understood, is for K5 to find; here it would
        # stop every check.
        for file in subject.migrations.rglob("*.up.sql"):
            copy = Path(folder, file.relative_to(subject.migrations))
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(file, copy)
            if not _is_understood(file, text := text_of(file)):
                lines = text.splitlines(keepends=True)
                copy.write_text(
                    "".join(each for each in lines if _is_understood(file, each)), "utf-8"
                )
            copy.with_name(copy.name.replace(".up.", ".down.")).touch()
        list(Migrator(url, folder=Path(folder)).up())


def _is_understood(file: Path, text: str) -> bool:
    try:
        header_of(file, text)
    except ConfigurationError:
        return False
    return True
