"""Q1: what queries read where tables have grown."""

import inspect
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

from acme_orders.chassis.database.explain import explainable
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import DatabaseError

from readiness import reads
from readiness.causes import is_of, told_by_retention
from readiness.check import Check
from readiness.evidence import Planned, drawn
from readiness.filters import unindexed
from readiness.rehearsal import Call, Rehearsal
from readiness.routes import sent_by_routes  # feature: http_api
from readiness.seeded import ROWS, growing, seed

_VERY_MANY = 1_000_000  # of whatever a number is about
_REPEATED = 10  # times that one statement may be sent in one call


class QueriesReadLittle(Check):
    """Queries read no more than they return."""

    id = "Q1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Let an index begin with the filter and go on with the order, and give reads a limit.

        Children of many parents come with fetch_children in one query. What is returned is a
        dataclass or another plain value. A table that stays small says why in the Meta of its
        model: `small = "the countries of the world"`.
        """
        tables = growing(rehearsal)
        slices = [each for one in rehearsal.service.slices for each in one.repositories]
        asked = [each for each in rehearsal.queries() if each[0] in slices]
        told = {
            each[1].name
            for each in asked
            if await unindexed(rehearsal, await rehearsal.call(*each))  # K1 tells of it
        }
        by_retention = await told_by_retention(rehearsal)
        sent = [*await seed(rehearsal)]
        sent += await sent_by_routes(rehearsal)  # feature: http_api
        self.inspected = 1 + len(asked)
        for finding in dict.fromkeys(
            f"{caller}: {each}" for caller, statements in sent for each in _repeated(statements)
        ):
            yield finding
        for repository, query, method in asked:
            call = await rehearsal.call(repository, query, method)
            for finding in (*_repeated(call.statements), *_models(call.result)):
                yield f"{query.name}: {finding}"
            if query.traffic == "low":  # K1 tells of one that is not rare
                self.left_out.append((query.name, "registered as rare"))
            elif query.name in told:
                self.left_out.append((query.name, "without an index, as K1 tells"))
            else:
                found = await self._judged(rehearsal, call, tables, writes=query.writes)
                found += await self._without_end(rehearsal, repository, query, method, tables)
                if any(is_of(complaint, by_retention) for complaint in found):
                    self.left_out.append((query.name, "without an index, as R1 tells"))
                for complaint in found:
                    if not is_of(complaint, by_retention):
                        yield f"{query.name}: {complaint}"

    async def _without_end(
        self,
        rehearsal: Rehearsal,
        repository: Repository,
        query: Query,
        method: str,
        tables: set[str],
    ) -> list[str]:
        """Ask a read for very many, by each of its numbers."""
        found = []
        called = inspect.signature(getattr(repository, method)).bind(**query.example)
        called.apply_defaults()
        for name, value in called.arguments.items():
            if type(value) is int and not query.writes:
                most = replace(query, example={**query.example, name: _VERY_MANY})
                call, known = await rehearsal.call(repository, most, method), self.plans.copy()
                complaints = await self._judged(rehearsal, call, tables, writes=False)
                new, self.plans = self.plans[len(known) :], known
                if max((each.returned or 0 for each in new), default=0) > reads.MOST:
                    found.append(
                        f"as many rows are returned as {name} says, however many: limit=min({name},"
                        " 100), or another number that memory has room for"
                    )
                else:
                    found += [f"with {name}={_VERY_MANY}: {each}" for each in complaints[:1]]
        return found

    async def _judged(
        self, rehearsal: Rehearsal, call: Call, tables: set[str], *, writes: bool
    ) -> list[str]:
        """Carry all its statements out once more, and look at what each has read."""
        manager, found = rehearsal.service.manager, dict[str, None]()
        async with undone(manager, "readiness.explain"):
            await manager.fetch_sql("SET LOCAL enable_seqscan = off")
            for each in call.statements:
                if not explainable(each.sql):
                    continue
                explain = f"EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, FORMAT JSON) {each.sql}"
                with suppress(DatabaseError):  # K3 and K4 tell of what fails
                    async with manager.savepoint():
                        ((plans,),) = await manager.fetch_sql(explain, *each.parameters)
                        plan = plans[0]["Plan"]
                        counted, lines = reads.counted(plan), tuple(drawn(plan))
                        self.plans.append(Planned(each.query, each.sql, lines, *counted))
                        for one in reads.complaints(plan, tables, ROWS, reads=not writes):
                            found[one] = None
        return list(found)


def _repeated(statements: Sequence[Statement]) -> Iterator[str]:
    for sql in dict.fromkeys(each.sql for each in statements):
        if (times := sum(each.sql == sql for each in statements)) > _REPEATED:
            yield f"one call sends a statement {times} times: {' '.join(sql.split())[:120]}"


def _models(result: Any) -> Iterator[str]:
    found = next((each for each in _parts(result) if isinstance(each, Table)), None)
    if found is not None:
        yield (
            f"it hands out {type(found).__name__}, a model: whoever gets it sends queries without "
            "a name and a limit"
        )


def _parts(result: Any) -> Iterator[Any]:
    """Whatever stands in lists, mappings and dataclasses, however deep."""
    if isinstance(result, Mapping):
        inner: Iterable[Any] = result.values()
    elif isinstance(result, list | tuple | set):
        inner = result
    elif is_dataclass(result):
        inner = (getattr(result, each.name) for each in fields(result))
    else:
        yield result
        return
    for each in inner:
        yield from _parts(each)
