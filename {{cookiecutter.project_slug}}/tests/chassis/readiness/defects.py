"""Deliberate defects, each of which exactly one check has to find."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import (
    UUID,
    uuid4,  # feature: http_api
)

import acme_orders
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.http.kept_answers import KeptAnswers  # feature: http_api
from acme_orders.chassis.messaging.broker import Delivery
from acme_orders.chassis.messaging.envelope import Envelope, Handler
from acme_orders.chassis.messaging.inbox import Inbox
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.relay.backlog import OutboxBacklog
from acme_orders.chassis.relay.pending import Pending

from readiness.rehearsal import Subject
from tests.chassis.readiness import tenant_defects  # feature: row, rls, schema
from tests.chassis.slices.sales.messages import SALE_BOOKED, SaleBooked

STRAY_WRITE = """
async def announce(outbox, payload):
    await outbox.add("stray", payload)
"""
STRAY_SQL = """
async def peek(manager):
    return await manager.fetch_sql("SELECT 1")
"""
SWAPPED = "DROP INDEX outbox_available; CREATE INDEX outbox_swapped ON outbox (id, available_at)"
KEYLESS = "ALTER TABLE inbox DROP CONSTRAINT inbox_pkey"
NOT_UNIQUE = f"{KEYLESS}; CREATE INDEX inbox_key ON inbox (consumer, source, id)"


@dataclass(frozen=True)
class Defect:
    """Something broken, and the check that has to see it."""

    check: str
    name: str
    introduce: Callable[[Subject, Path], Subject]


def altered(sql: str) -> Callable[[Subject, Path], Subject]:
    """Break the schema after migrating."""
    return lambda subject, _: replace(subject, alter=sql)


def prepared(prepare: Callable[[Service], None]) -> Callable[[Subject, Path], Subject]:
    """Break each assembled service."""
    return lambda subject, _: replace(subject, prepare=prepare)


def migrated(file: str, old: str, new: str) -> Callable[[Subject, Path], Subject]:
    """Break a migration; an empty `old` stands for the whole file."""

    def introduce(subject: Subject, folder: Path) -> Subject:
        copy = folder / "changed"
        shutil.copytree(subject.migrations, copy)
        text = (copy / file).read_text(encoding="utf-8")
        (copy / file).write_text(text.replace(old or text, new), encoding="utf-8")
        return replace(subject, migrations=copy)

    return introduce


def requiring(says: str | None) -> Callable[[Subject, Path], Subject]:
    """A migration that requires a backfill, and a file of it that says this, or none."""

    def introduce(subject: Subject, folder: Path) -> Subject:
        copy = folder / "migrations"
        shutil.copytree(subject.migrations, copy)
        column, head = "ALTER TABLE inbox ALTER consumer SET STATISTICS", "-- reversible: yes\n"
        up = f"{head}-- requires: backfill fill\n\n{column} 100;\n"
        (copy / "0950_filled.up.sql").write_text(up, encoding="utf-8")
        (copy / "0950_filled.down.sql").write_text(f"{column} -1;\n", encoding="utf-8")
        if says is not None:
            (folder / "backfills").mkdir()
            base = "from acme_orders.chassis.backfills.backfill import Backfill"
            text = f"{base}\n\n\nclass Fill(Backfill):\n    {says}\n"
            (folder / "backfills/fill.py").write_text(text, encoding="utf-8")
        return replace(subject, migrations=copy)

    return introduce


def without_down_file(subject: Subject, folder: Path) -> Subject:
    """Forget how to take a migration back."""
    copy = folder / "changed"
    shutil.copytree(subject.migrations, copy)
    (copy / "0003_inbox.down.sql").unlink()
    return replace(subject, migrations=copy)


def orphaned_contract(subject: Subject, folder: Path) -> Subject:
    """Keep the contract of a query that is gone, and of no other."""
    (folder / "contracts").mkdir()
    (folder / "contracts" / "sales.gone.json").write_text("{}", encoding="utf-8")
    return replace(subject, contracts=folder / "contracts")


def written(text: str) -> Callable[[Subject, Path], Subject]:
    """Add a module to the package's source."""

    def introduce(subject: Subject, folder: Path) -> Subject:
        copy = folder / "source"
        shutil.copytree(Path(acme_orders.__file__).parent, copy)
        (copy / "stray.py").write_text(text, encoding="utf-8")
        return replace(subject, source=copy)

    return introduce


def unguarded_write(service: Service) -> None:
    """A write that does not look for a transaction before it sends anything."""

    class Unguarded(Pending):
        async def failed(self, lease: UUID, row: int, *, error: str, seconds: float) -> None:
            with self.manager.named("outbox.failed"):
                await self.manager.fetch_sql(
                    "UPDATE outbox SET last_error = %s WHERE id = %s AND lease = %s "
                    "AND attempts < %s RETURNING id",
                    error,
                    row,
                    lease,
                    seconds,
                )

    query = next(query for query, method in Pending.queries() if method == "failed")
    Unguarded.failed.__dict__["query"] = query
    _become(service, Pending, Unguarded)


def early_ack(service: Service) -> None:
    """Messages are acknowledged before they are processed."""
    process = service.consumer.process

    async def acknowledge_first(deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            await each.ack()
        await process([_Settled(each) for each in deliveries])

    service.consumer.__dict__["process"] = acknowledge_first


def forgetful_handler(service: Service) -> None:
    """A handler whose effects happen again for the same content."""
    (type_, handler), *_ = service.handlers.items()
    outbox = next(each for each in service.repositories if isinstance(each, Outbox))

    async def announce_always(payload: Any) -> None:
        await handler.handle(payload)
        await outbox.add(SALE_BOOKED, SaleBooked.model_validate(SaleBooked.example()))

    handlers: Any = service.handlers
    handlers[type_] = Handler(handler.payload, announce_always)


def forgetful_inbox(service: Service) -> None:
    """An inbox that takes every message for a new one."""

    class Forgetful(Inbox):
        async def claim(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
            await super().claim(envelopes)
            return list(envelopes)

    _become(service, Inbox, Forgetful)


# feature: http_api {
def forgetful_answers(service: Service) -> None:
    """Keys of requests are entered, and never found again."""

    class Forgetful(KeptAnswers):
        async def enter(self, key: str, digest: bytes) -> bool:
            return await super().enter(f"{key} {uuid4()}", digest)

    _become(service, KeptAnswers, Forgetful)


# feature: http_api }
def refusing_handler(service: Service) -> None:
    """A handler that does not accept its own example."""
    (type_, handler), *_ = service.handlers.items()

    async def refuse(_: Any) -> None:
        raise ValueError

    handlers: Any = service.handlers
    handlers[type_] = Handler(handler.payload, refuse)


def unregistered_metric(name: str) -> Callable[[Service], None]:
    """A metric that nobody can scrape."""
    return lambda service: service.metrics.registry.unregister(getattr(service.metrics, name))


def unseen_query(service: Service) -> None:
    """A query whose statements have no name."""

    class Unseen(OutboxBacklog):
        async def pending(self, **_: Any) -> Any:
            with self.manager.named("other"):
                return await self.manager.fetch_sql("SELECT 1")

    Unseen.pending.__dict__["query"] = Query("outbox.backlog")
    _become(service, OutboxBacklog, Unseen)


def _become(service: Service, old: type[Repository], new: type[Repository]) -> None:
    for each in service.repositories:
        if isinstance(each, old):
            each.__class__ = new


class _Settled:
    def __init__(self, delivery: Delivery) -> None:
        self.message, self.queue, self.returns = delivery.message, delivery.queue, 0
        self.open = True

    async def ack(self) -> None:
        await asyncio.sleep(0)

    async def release(self) -> None:
        await asyncio.sleep(0)


DEFECTS = (
    Defect("K1", "index dropped", altered("DROP INDEX outbox_available")),
    Defect("K1", "index begins with another column", altered(SWAPPED)),
    Defect("K2", "write outside a transaction", written(STRAY_WRITE)),
    Defect("K2", "SQL outside a repository", written(STRAY_SQL)),
    Defect("K2", "unguarded write", prepared(unguarded_write)),
    Defect("K2", "ack before commit", prepared(early_ack)),
    Defect("K3", "inbox without key", altered(KEYLESS)),
    Defect("K3", "inbox key not unique", altered(NOT_UNIQUE)),
    Defect("K3", "effects not idempotent", prepared(forgetful_handler)),
    Defect("K3", "inbox forgets", prepared(forgetful_inbox)),
    Defect("K3", "keys of requests forgotten", prepared(forgetful_answers)),  # feature: http_api
    Defect("K3", "example refused", prepared(refusing_handler)),
    Defect("K4", "no latency", prepared(unregistered_metric("db_operation_duration"))),
    Defect("K4", "no errors", prepared(unregistered_metric("db_errors"))),
    Defect("K4", "no pool gauge", prepared(unregistered_metric("db_connections"))),
    Defect("K4", "query not seen", prepared(unseen_query)),
    Defect("K5", "no down file", without_down_file),
    Defect("K5", "empty down file", migrated("0003_inbox.down.sql", "", "-- soon\n")),
    Defect(
        "K5",
        "down file leaves something",
        migrated("0003_inbox.down.sql", "DROP TABLE inbox;", "SELECT 1;"),
    ),
    Defect("K5", "requires a backfill that is missing", requiring(None)),
    Defect(
        "K5",
        "backfill that never completes",
        requiring('table = "inbox"; set = "id = id"; key = ("number",); verify = "SELECT 0"'),
    ),
    Defect("K5", "no header", migrated("0003_inbox.up.sql", "-- reversible: yes", "")),
    Defect(
        "K5",
        "no reason",
        migrated("0003_inbox.up.sql", "-- reversible: yes", "-- reversible: no"),
    ),
    Defect("K6", "orphaned contract", orphaned_contract),
    # feature: row, rls, schema {
    *(
        Defect("N1", name, prepared(tenant_defects.becomes(how)))
        for name, how in tenant_defects.CARELESS.items()
    ),
    *(Defect("N1", name, altered(sql)) for name, sql in tenant_defects.ALTERED.items()),
    # feature: row, rls, schema }
)
