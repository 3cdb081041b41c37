"""How many rows a plan reads, beside how many it returns."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from readiness.plans import nodes_of

_FEW = 200  # rows that nobody minds
_TIMES = 5  # rows that may be read for each that is returned
MOST = 1001  # rows that are returned without a limit; fetch_children asks for so many
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
    nodes = list(nodes_of(plan))
    scans = [each for each in nodes if _is_scan(each) and each.get("Relation Name") in growing]
    read, returned = {id(node): _read(node) for node in scans}, _returned(plan)
    worst = max(scans, key=lambda node: read[id(node)], default=None)
    if worst is None:
        return
    most, total = read[id(worst)], sum(read.values())
    if most > rows / 2:
        yield f"{worst['Relation Name']} is read as a whole, {most:.0f} rows{_why(plan, worst)}"
    elif total > _FEW + _TIMES * returned:
        yield (
            f"{total:.0f} rows of {worst['Relation Name']} are read to return {returned:.0f}"
            f"{_why(plan, worst)}"
        )
    elif reads and (handed_out := float(plan["Actual Rows"])) > MOST:
        limited = any(each["Node Type"] == "Limit" for each in nodes)
        what = f"its limit is above {MOST - 1}" if limited else "it has no limit"
        yield f"{handed_out:.0f} rows are returned at once: {what}"


def counted(plan: Mapping[str, Any]) -> tuple[float, float]:
    """Rows that were read from whatever tables, and those that came out."""
    scans = [each for each in nodes_of(plan) if "Relation Name" in each and _is_scan(each)]
    return sum(map(_read, scans)), _returned(plan)


def _is_scan(node: Mapping[str, Any]) -> bool:
    return str(node["Node Type"]).endswith("Scan")


def _read(node: Mapping[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node.get("Actual Rows", 0) + removed) * node.get("Actual Loops", 1))


def _returned(plan: Mapping[str, Any]) -> float:
    """Rows that come out, or that are changed or counted."""
    while plan.get("Plans") and (plan["Node Type"] in _PASSING or _is_limit_of_one(plan)):
        plan = _input(plan)
    return float(plan.get("Actual Rows", 0))


def _is_limit_of_one(plan: Mapping[str, Any]) -> bool:
    """Whether it limits what is one row anyway, such as a count."""
    return bool(plan["Node Type"] == "Limit" and _input(plan).get("Strategy") == "Plain")


def _input(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where its rows come from, and not what is asked once beside it, such as the tenant."""
    beside = {"InitPlan", "SubPlan"}
    inner = [each for each in plan["Plans"] if each.get("Parent Relationship") not in beside]
    found: Mapping[str, Any] = (inner or plan["Plans"])[0]
    return found


def _why(plan: Mapping[str, Any], worst: Mapping[str, Any]) -> str:
    if "Filter" in worst:
        return f"; no index serves {worst['Filter']}"
    for node in nodes_of(plan):
        if node["Node Type"] in _ORDERING:
            return f", to sort them by {', '.join(node['Sort Key'])}"
    return ""
