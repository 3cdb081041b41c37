"""Reading the plans of PostgreSQL: is every filter served by the beginning of an index?"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_CONDITIONS = ("Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_QUALIFIER = re.compile(r'(?:"[^"]+"|\b\w+)\.(?=["a-z_])')


@dataclass(frozen=True)
class Index:
    """What decides whether a condition can use an index well."""

    method: str
    leading: str


async def complaints(
    plan: Mapping[str, Any],
    index: Callable[[str], Awaitable[Index]],
    small: Collection[str] = (),
) -> list[str]:
    """What is wrong with a plan that was made with `enable_seqscan = off`.

    Args:
        plan: the outermost node of EXPLAIN (FORMAT JSON).
        index: finds an index by its name.
        small: tables that may be read as a whole.
    """
    nodes = list(nodes_of(plan))
    filtered = any(condition in node for node in nodes for condition in _CONDITIONS)
    found = []
    for node in nodes:
        kind, table = node["Node Type"], node.get("Relation Name")
        condition = node.get("Index Cond")
        if table in small:
            continue
        if kind == "Seq Scan" and filtered:
            found.append(f"{table} is read as a whole; no index serves {_filter(node)}")
        elif kind in {"Index Scan", "Index Only Scan"} and condition is None and "Filter" in node:
            found.append(f"{table} is read as a whole by an index; none serves {_filter(node)}")
        elif condition is not None:
            name = node["Index Name"]
            used = await index(name)
            if used.method == "btree" and not begins_with(condition, used.leading):
                found.append(f"{condition} does not use {used.leading}, with which {name} begins")
    return found


def begins_with(condition: str, leading: str) -> bool:
    """Whether a condition restricts the leading column or expression of an index.

    PostgreSQL writes the side of the index first in each part of the condition.
    """
    wanted = _plain(leading)
    return any(
        re.match(rf"(?:ROW\()?{re.escape(wanted)}(?!\w)", _plain(part)) is not None
        for part in _LITERAL.sub("''", condition).split(" AND ")
    )


def _plain(text: str) -> str:
    return _QUALIFIER.sub("", _LITERAL.sub("''", text)).lstrip("(")


def _filter(node: Mapping[str, Any]) -> str:
    return str(node.get("Filter", "the join"))


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A node and all under it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)
