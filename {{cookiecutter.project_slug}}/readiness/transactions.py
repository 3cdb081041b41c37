"""K2: where transactions begin and end."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from uuid import uuid4

from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.errors import WriteOutsideTransaction

from readiness.catalog import contents_of
from readiness.check import Check
from readiness.observed import observed  # feature: http_api
from readiness.rehearsal import Rehearsal
from readiness.sources import Source, calls, exposed, sources
from readiness.watch import (
    WRITE,
    # feature: http_api {
    is_read_only,
    told,
    # feature: http_api }
)

_RAW = frozenset(
    {"aio_execute", "aio_create", "aio_save", "aio_atomic", "execute_sql", "fetch_sql"}
)
_SESSION = "SHOW default_transaction_read_only"


class TransactionsAreExplicit(Check):
    """Transaction boundaries are explicit."""

    id = "K2"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Register what writes with writes=True, and call it inside manager.transaction or run.

        SQL belongs in a repository; acknowledge a message only after its transaction committed.
        """
        for repository, query, method in rehearsal.queries():
            self.inspected += 1
            look = _alone if query.writes else _reading
            async for finding in look(rehearsal, repository, query, method):
                yield finding
        async with rehearsal.service.manager.connection() as lease:
            read_only = await lease.rows(_SESSION)
        if read_only != [("on",)]:
            yield "outside a transaction, PostgreSQL itself does not refuse writes"
        found = list(_written(rehearsal))
        # feature: http_api {
        found = found or await _refused(rehearsal)
        found += (await observed(rehearsal)).torn
        # feature: http_api }
        for finding in found:
            yield finding
        for type_ in rehearsal.service.handlers:
            self.inspected += 1
            async for finding in _handled(rehearsal, type_):
                yield finding


async def _alone(
    rehearsal: Rehearsal, repository: Repository, query: Query, method: str
) -> AsyncGenerator[str, None]:
    """A write without a transaction is refused before anything is sent."""
    before = await asyncio.to_thread(contents_of, rehearsal.url)
    seen = len(rehearsal.statements)
    try:
        await getattr(repository, method)(**query.example)
    except WriteOutsideTransaction:
        if len(rehearsal.statements) > seen:
            yield f"{query.name} sends SQL before it finds that there is no transaction"
    except Exception as error:
        yield f"{query.name} outside a transaction raises {error!r}"
    else:
        yield f"{query.name} works outside a transaction"
    if await asyncio.to_thread(contents_of, rehearsal.url) != before:
        yield f"{query.name} leaves rows behind outside a transaction"


async def _reading(
    rehearsal: Rehearsal, repository: Repository, query: Query, method: str
) -> AsyncGenerator[str, None]:
    """What is not registered as a write does not write."""
    call = await rehearsal.call(repository, query, method)
    if any(WRITE.search(each.sql) for each in call.statements):
        yield f"{query.name} writes, but is not registered with writes=True"


def _written(rehearsal: Rehearsal) -> Iterator[str]:
    writes = {method for _, query, method in rehearsal.queries() if query.writes}
    slices = [each for each in sources(rehearsal.subject.source) if each.parts[0] != "chassis"]
    for use in exposed(slices, writes):
        if not _may_send_sql(use.source):  # the methods of a repository look for one themselves
            where = "in a read-only" if use.transaction else "outside a"
            yield f"{use.source.path}:{use.line} writes {where} transaction, by {use.name}"
    for source in slices:
        if not _may_send_sql(source):
            for call in calls(source, _RAW):
                yield f"{source.path}:{call.lineno} sends SQL outside a repository"


# feature: http_api {
async def _refused(rehearsal: Rehearsal) -> list[str]:
    """Writes that PostgreSQL refuses because their transaction only reads."""
    failures = (await observed(rehearsal)).failures
    refused = [told(each) for each in failures if is_read_only(each)]
    return list(dict.fromkeys(f"a transaction that only reads writes: {each}" for each in refused))


# feature: http_api }


def _may_send_sql(source: Source) -> bool:
    return source.parts[-1] in {"repository", "models"}


async def _handled(rehearsal: Rehearsal, type_: str) -> AsyncGenerator[str, None]:
    """A message is acknowledged after its COMMIT. One that fails has none; K3 reports it."""
    identity, service = str(uuid4()), rehearsal.service
    found: list[str] = []

    async def on_ack() -> None:
        try:
            service.manager.current_transaction()
        except WriteOutsideTransaction:
            pass
        else:
            found.append(f"{type_} is acknowledged inside its transaction")
        if await rehearsal.set_aside() > aside:
            return
        if not await rehearsal.rows("SELECT 1 FROM inbox WHERE id = %s", identity):
            found.append(f"{type_} is acknowledged before its COMMIT")

    try:
        letter = rehearsal.letter(type_, identity, on_ack)
    except LookupError:
        return
    aside, seen = await rehearsal.set_aside(), len(rehearsal.statements)
    await service.consumer.process([letter])
    for finding in found:
        yield finding
    for statement in rehearsal.statements[seen:]:
        if statement.unit_of_work is None and WRITE.search(statement.sql):
            yield f"{type_}: {statement.query} writes outside a unit of work"
