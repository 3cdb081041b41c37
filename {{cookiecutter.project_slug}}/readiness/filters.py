"""K1: the filters of busy queries."""

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any

from acme_orders.chassis.database.explain import explainable
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.errors import DatabaseError

from readiness.causes import is_of, told_by_retention
from readiness.check import Check
from readiness.evidence import Planned, drawn
from readiness.plans import Index, complaints
from readiness.rehearsal import Call, Rehearsal
from readiness.routes import rehearse_routes  # feature: http_api
from readiness.seeded import growing, rehearse_handlers

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
        no other query stores, stand in `given`.
        """
        async with rehearsal.another() as used:
            callers = dict(await rehearse_handlers(used))
            # feature: http_api {
            asked, untried = await rehearse_routes(used)
            callers, self.left_out = {**asked, **callers}, [*self.left_out, *untried]
            # feature: http_api }
        told = await told_by_retention(rehearsal)
        for repository, query, method in rehearsal.queries():
            caller = callers.get(query.name)
            if query.traffic != "high" and caller is None:
                self.left_out.append((query.name, "registered as rare"))
                continue
            self.inspected += 1
            if query.traffic != "high":
                yield (
                    f"{query.name} is called for every {caller}, and is registered as rare: say "
                    'traffic="high" in its @query(…)'
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
        ((plans,),) = await manager.fetch_sql(explain, statement.parameters)
    plan: Mapping[str, Any] = plans[0]["Plan"]
    return plan
