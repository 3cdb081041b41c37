"""K1: the filters of busy queries."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any

from acme_orders.chassis.database.explain import explainable
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.retention.refusal import NoIndex

from readiness.causes import is_of, told_by_retention
from readiness.check import Check
from readiness.evidence import Planned, drawn
from readiness.observed import observed
from readiness.plans import Index, complaints
from readiness.references import references_in, remedy, unserved
from readiness.rehearsal import Call, Rehearsal
from readiness.routes import or_rare  # feature: http_api
from readiness.seeded import growing

_NO_ARBITER = "42P10"  # ON CONFLICT without its unique index: K3 finds that in every handler
_INDEX = """
SELECT amname::text, pg_get_indexdef(pg_class.oid, 1, false)
FROM pg_class JOIN pg_am ON pg_am.oid = relam
WHERE relname = %s AND pg_table_is_visible(pg_class.oid)
"""


class FiltersAreIndexed(Check):
    """All high-traffic filters are indexed."""

    id = "K1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Add an index that begins with the filtered column in a new migration.

        If the query is rare, register it with traffic="low". Rows that its example needs, and that
        no other query stores, stand in `given`. A foreign key needs an index as well.
        """
        used = await observed(rehearsal)
        self.left_out += used.untried
        told = await told_by_retention(rehearsal)
        async for finding in self._references(rehearsal, told):
            yield finding
        for repository, query, method in rehearsal.queries():
            caller = used.callers.get(query.name)
            if query.traffic != "high" and caller is None:
                self.left_out.append((query.name, "registered as rare"))
                continue
            self.inspected += 1
            if query.traffic != "high":
                more = 'say traffic="high" in its @query(…)'
                more += or_rare(str(caller))  # feature: http_api
                yield (
                    f"{query.name} is called for every {caller}, and is registered as rare: {more}"
                )
            call = await rehearsal.call(repository, query, method)
            if call.error and getattr(call.error, "sqlstate", None) != _NO_ARBITER:
                yield f"{query.name} fails with its example: {call.error!r}"
            elif not call.statements:
                yield f"{query.name} sends no statement with its example"
            for complaint in await unindexed(rehearsal, call, self.plans):
                if is_of(complaint, told):
                    self.left_out.append((query.name, "without an index, as R1 tells"))
                else:
                    yield f"{query.name}: {complaint}"

    async def _references(
        self, rehearsal: Rehearsal, told: Sequence[NoIndex]
    ) -> AsyncGenerator[str, None]:
        """Whoever deletes a row looks for those that refer to it, in whatever table they are."""
        known = await asyncio.to_thread(references_in, rehearsal.url)
        self.inspected += len(known)
        by_retention = {(each.table, each.columns) for each in told}
        for each in unserved(known, growing(rehearsal, small=True)):
            if (each.short, tuple(each.columns)) in by_retention:
                self.left_out.append((each.name, "without an index, as R1 tells"))
            else:
                yield remedy(each)


async def unindexed(
    rehearsal: Rehearsal, call: Call, seen: list[Planned] | None = None
) -> list[str]:
    """What no index serves of the statements that a query sends; the plans go into `seen`."""
    small = growing(rehearsal, small=True)
    return [
        complaint
        for each in call.statements
        if each.error is None and explainable(each.sql)
        for complaint in await _complaints(rehearsal, each, small, seen)
    ]


async def _complaints(
    rehearsal: Rehearsal,
    statement: Statement,
    small: Collection[str],
    seen: list[Planned] | None,
) -> list[str]:
    async def index(name: str) -> Index:
        ((method, leading),) = await rehearsal.rows(_INDEX, name)
        return Index(method, leading)

    try:
        plan = await _plan(rehearsal.service.manager, statement)
    except DatabaseError as error:
        return [f"PostgreSQL makes no plan: {error}"]
    if seen is not None:
        seen.append(Planned(statement.query, statement.sql, tuple(drawn(plan))))
    return await complaints(plan, index, small)


async def _plan(manager: Manager, statement: Statement) -> Mapping[str, Any]:
    """Without sequential scans even an empty table shows whether an index could serve."""
    async with manager.transaction("readiness.explain"):
        await manager.fetch_sql("SET LOCAL enable_seqscan = off")
        explain = f"EXPLAIN (FORMAT JSON) {statement.sql}"
        ((plans,),) = await manager.fetch_sql(explain, *statement.parameters)
    plan: Mapping[str, Any] = plans[0]["Plan"]
    return plan
