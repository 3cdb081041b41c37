"""How many rows a plan reads, beside how many it returns."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from readiness.plans import nodes_of

_FEW = 200  # rows that nobody minds
_TIMES = 5  # rows that may be read for each that is returned
_MOST = 1001  # rows that are returned without a limit; fetch_children asks for so many
_PASSING = {"ModifyTable", "Aggregate", "LockRows", "WindowAgg", "Result", "Subquery Scan"}
_ORDERING = ("Sort", "Incremental Sort")


def complaints(
    plan: Mapping[str, Any], growing: Collection[str], rows: int, *, reads: bool
) -> Iterator[str]:
    """What is wrong with a plan that was carried out on many rows; the first thing only.

    Args:
        plan: the outermost node of EXPLAIN (ANALYZE, FORMAT JSON).
        growing: tables of which it should read little.
        rows: of each of these.
        reads: whether rows are returned to a caller.
    """
    scans = [node for node in nodes_of(plan) if node.get("Relation Name") in growing]
    read = {id(node): _read(node) for node in scans}
    for node in scans:
        if "Index Cond" not in _with_parts(node) and read[id(node)] > rows / 2:
            whole = f"{node['Relation Name']} is read as a whole, {read[id(node)]:.0f} rows"
            yield f"{whole}{_order(plan)}"
            return
    returned = _returned(plan)
    if (total := sum(read.values())) > _FEW + _TIMES * returned:
        worst = max(scans, key=lambda node: read[id(node)])
        because = _order(plan) or f"; what it is left with is {worst.get('Filter', 'a join')}"
        yield (
            f"{total:.0f} rows of {worst['Relation Name']} are read to return {returned:.0f}"
            f"{because}"
        )
    elif reads and returned > _MOST and not any(n["Node Type"] == "Limit" for n in nodes_of(plan)):
        yield f"{returned:.0f} rows are returned at once: it has no limit"


def _read(node: Mapping[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node.get("Actual Rows", 0) + removed) * node.get("Actual Loops", 1))


def _with_parts(node: Mapping[str, Any]) -> set[str]:
    """The keys of a node and of those that find its rows; a bitmap is made by other nodes."""
    return {key for each in nodes_of(node) for key in each}


def _returned(plan: Mapping[str, Any]) -> float:
    """Rows that come out, or that are changed or counted."""
    while plan["Node Type"] in _PASSING and plan.get("Plans"):
        plan = plan["Plans"][0]
    return float(plan.get("Actual Rows", 0))


def _order(plan: Mapping[str, Any]) -> str:
    for node in nodes_of(plan):
        if node["Node Type"] in _ORDERING:
            return f", to sort them by {', '.join(node['Sort Key'])}"
    return ""
