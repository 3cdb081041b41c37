"""The shape of a plan: what is reached how. Nothing in it depends on data or on a server."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

from readiness.contracts.contract import Access, Plan
from readiness.plans import nodes_of

# The planner then shows what an index could serve, for whatever values, on empty tables.
SETTINGS: Mapping[str, str] = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    # One way to join: which of them is the cheapest depends on the data.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_memoize": "off",
    "enable_material": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "4",
    "seq_page_cost": "1",
    "work_mem": "'4MB'",
    "effective_cache_size": "'4GB'",
}
_SIDES = {"Right": "Left", "Right Anti": "Anti", "Right Semi": "Semi"}  # which side is read first
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_COLUMN = re.compile(r'("[^"]+"|[a-z_]\w*)\.("[^"]+"|[a-z_]\w*)')

# Before PostgreSQL 17 a list is mostly looked at in the rows that the index has found.
_LIST = re.compile(r'("[^"]+"|[a-z_]\w*)\.("[^"]+"|[a-z_]\w*) = ANY ')


class Index(NamedTuple):
    """What an index begins with, and all of its columns."""

    leading: str
    columns: frozenset[str]


FindIndex = Callable[[str], Awaitable[Index]]
FindColumns = Callable[[str], Awaitable[frozenset[str]]]


async def shape(plan: Mapping[str, Any], index: FindIndex, columns: FindColumns) -> Plan:
    """What a plan comes to.

    Args:
        plan: the outermost node of EXPLAIN (VERBOSE, FORMAT JSON), made with `SETTINGS`.
        index: finds an index by its name.
        columns: finds the columns of a table by its name.
    """
    relations: dict[str, Access] = {}
    joins: list[str] = []
    arbiters: set[str] = set()
    sorts = False
    for node in nodes_of(plan):
        kind = node["Node Type"]
        sorts = sorts or kind in {"Sort", "Incremental Sort"}
        arbiters |= set(node.get("Conflict Arbiter Indexes", ()))
        if "Join Type" in node:
            joins.append(_SIDES.get(node["Join Type"], node["Join Type"]))
        if kind.endswith("Scan") and "Relation Name" in node:
            name = _free(node["Relation Name"], relations)
            relations[name] = await _access(node, index, columns)
    return Plan(relations=relations, joins=sorted(joins), sorts=sorts, arbiters=sorted(arbiters))


async def _access(node: Mapping[str, Any], index: FindIndex, columns: FindColumns) -> Access:
    known, alias = await columns(node["Relation Name"]), str(node.get("Alias", ""))
    rest = str(node.get("Filter", ""))
    residual = set(_named(_COLUMN, rest, alias, known))
    used = list(_indexes(node))
    if not used:
        return Access(access="whole", residual_filter=sorted(residual))
    names = [str(each["Index Name"]) for each in used]
    indexes = [await index(name) for name in names]
    conditions = " ".join(str(each.get("Index Cond", "")) for each in used)
    asked = set(_named(_COLUMN, conditions, alias, known))
    asked |= set(_named(_LIST, rest, alias, known)).intersection(*(one.columns for one in indexes))
    return Access(
        access="index",
        index=" + ".join(names),
        leading=" + ".join(one.leading for one in indexes),
        condition=sorted(asked),
        residual_filter=sorted(residual - asked),
    )


def _indexes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those that a scan uses; whether it makes a bitmap of them first is a matter of costs."""
    if "Index Name" in node:
        yield node
    elif str(node["Node Type"]).startswith("Bitmap"):
        for child in node.get("Plans", ()):
            yield from _indexes(child)


def _named(form: re.Pattern[str], text: str, alias: str, known: frozenset[str]) -> Iterator[str]:
    """The columns of a relation that a condition names; VERBOSE writes each as `alias.column`."""
    for of, name in form.findall(_LITERAL.sub("''", text)):
        if of.strip('"') == alias and name.strip('"') in known:
            yield name.strip('"')


def _free(name: str, taken: Mapping[str, Access]) -> str:
    return next(each for each in _names(name) if each not in taken)


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name} ({number})"
        number += 1
