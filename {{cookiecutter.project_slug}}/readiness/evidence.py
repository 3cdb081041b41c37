"""What was seen, for those who read the report."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from acme_orders.chassis.process.service import Service

from readiness.watch import short

_CONDITIONS = ("Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter")


@dataclass(frozen=True)
class Planned:
    """How PostgreSQL carries out a statement of a query.

    Args:
        query: its name.
        sql: without values.
        lines: of the plan.
        read: rows that were read; None if it was not carried out.
        returned: rows that came out, or were changed or counted; likewise.
        place: file and line of the query.
    """

    query: str
    sql: str
    lines: tuple[str, ...]
    read: float | None = None
    returned: float | None = None
    place: str = ""


def drawn(plan: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """A plan in EXPLAIN (FORMAT JSON) as lines, the outermost node first."""
    names = [str(plan[each]) for each in ("Index Name", "Relation Name") if each in plan]
    what = f"{plan['Node Type']} {' on '.join(names)}".rstrip()
    if (rows := plan.get("Actual Rows")) is not None:
        times = plan.get("Actual Loops", 1)
        what += f" ({rows:g} rows{f', {times:g} times' if times > 1 else ''})"
    yield f"{'  ' * depth}{what}"
    for each in _CONDITIONS:
        if each in plan:
            yield f"{'  ' * depth}    {each}: {plan[each]}"
    if keys := plan.get("Sort Key"):
        yield f"{'  ' * depth}    Sort Key: {', '.join(keys)}"
    if removed := plan.get("Rows Removed by Filter"):
        yield f"{'  ' * depth}    Rows Removed by Filter: {removed:g}"
    for each in plan.get("Plans", ()):
        yield from drawn(each, depth + 1)


def places_of(service: Service) -> dict[str, str]:
    """File and line of each registered query and of each handler, by its name or type."""
    found = {
        query.name: _place(getattr(type(repository), method))
        for repository in service.repositories
        for query, method in repository.queries()
    }
    return found | {type_: _place(each.handle) for type_, each in service.handlers.items()}


def named_in(finding: str, places: Mapping[str, str]) -> str:
    """Where that is of which the finding speaks; empty if it names nothing that is known."""
    words = re.findall(r"[\w.]*\w", finding)
    return next((places[each] for each in words if each in places), "")


def _place(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    plain = inspect.unwrap(function)
    file = sys.modules[plain.__module__].__file__
    return f"{short(str(file))}:{plain.__code__.co_firstlineno}"
