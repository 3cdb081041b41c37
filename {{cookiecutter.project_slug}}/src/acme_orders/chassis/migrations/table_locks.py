"""The locks of ALTER TABLE, part by part."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from postgast import nodes as ast

from acme_orders.chassis.database.sql_text import descendants
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.trees import (
    constraints_of,
    is_serial,
    is_volatile,
    kind_of,
    table_of,
    type_of,
)

MODES = (
    *("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"),
    *("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"),
)
READ, SELECTING, WRITE, MAINTAIN, SHARE, TRIGGER, EXCLUSIVE, ALL = MODES
SCANS, REWRITES = "reads all of it", "writes all of it anew"

_OF_PARTS = {  # of ALTER TABLE; all others take ACCESS EXCLUSIVE
    MAINTAIN: {
        *("SetStatistics", "SetOptions", "ResetOptions", "ClusterOn", "DropCluster"),
        *("ValidateConstraint", "AttachPartition", "DetachPartitionFinalize"),
    },
    TRIGGER: {
        *("EnableTrig", "EnableAlwaysTrig", "EnableReplicaTrig", "DisableTrig"),
        *("EnableTrigAll", "DisableTrigAll", "EnableTrigUser", "DisableTrigUser"),
    },
}
_REWRITING = {"SetTableSpace", "SetLogged", "SetUnLogged", "SetAccessMethod", "SetExpression"}
# What storage they choose; the others concern how a table is read, and take ACCESS EXCLUSIVE.
_OPTIONS = (
    "fillfactor",
    "autovacuum_",
    "toast_tuple_target",
    "parallel_workers",
    "vacuum_",
    "log_",
)


class Lock(NamedTuple):
    """One lock.

    Attributes:
        table: its name.
        mode: one of `MODES`, which are in order of strength.
        work: what is done to the table meanwhile: `SCANS`, `REWRITES`, or empty for a moment only.
    """

    table: str
    mode: str
    work: str = ""

    def __str__(self) -> str:
        return f"{self.mode} on {self.table}" + (f", {self.work}" if self.work else "")

    @property
    def strength(self) -> tuple[int, int]:
        """For comparing: the mode, then the work."""
        return MODES.index(self.mode), ["", SCANS, REWRITES].index(self.work)


def part_locks(table: str, part: Any, known: Known) -> Iterator[Lock]:  # noqa: C901, PLR0912
    """The locks of one part of ALTER TABLE."""
    kind, node = kind_of(part), part.def_
    mode = next((mode for mode, kinds in _OF_PARTS.items() if kind in kinds), ALL)
    if kind in {"SetRelOptions", "ResetRelOptions"}:
        names = [each.defname for each in descendants(node) if isinstance(each, ast.DefElem)]
        mode = MAINTAIN if all(name.startswith(_OPTIONS) for name in names) else ALL
    work = REWRITES if kind in _REWRITING else ""
    match kind:
        case "AddColumn":
            work = _column_work(node)
            if reference := constraints_of(node).get("FOREIGN"):
                yield Lock(table_of(reference.pktable), TRIGGER)
        case "AddConstraint":
            if kind_of(node) == "FOREIGN":
                mode = TRIGGER
                yield Lock(table_of(node.pktable), TRIGGER)
            work = "" if node.skip_validation or node.indexname else SCANS
        case "ValidateConstraint":
            constraint = known.table(table).constraints.get(part.name)
            work = SCANS
            if constraint and constraint.refers:
                yield Lock(constraint.refers, SELECTING)
        case "DropConstraint" | "DropColumn":
            for name, other, each in known.references(table):
                if part.name in {name, *each.columns}:
                    yield Lock(other, ALL)
        case "SetNotNull":
            work = "" if known.proved(table, part.name) else SCANS
        case "AlterColumnType":
            old, new = known.table(table).columns.get(part.name, ""), type_of(node.type_name)
            work = "" if is_wider(old, new) and node.raw_default is None else REWRITES
        case "AttachPartition":
            partition = table_of(node.name)
            checks = known.table(partition).constraints.values()
            proved = any(each.kind == "CHECK" and each.valid for each in checks)
            yield Lock(partition, ALL, "" if proved else SCANS)
        case "DetachPartition":
            mode = MAINTAIN if node.concurrent else ALL
            yield Lock(table_of(node.name), ALL)
    yield Lock(table, mode, work)


def _column_work(column: Any) -> str:
    parts = constraints_of(column)
    default = parts.get("DEFAULT")
    if {"IDENTITY", "GENERATED"} & parts.keys() or is_serial(column):
        virtual = "GENERATED" in parts and parts["GENERATED"].generated_kind == "v"
        return "" if virtual else REWRITES
    if default is not None and is_volatile(default.raw_expr):
        return REWRITES
    return SCANS if {"CHECK", "UNIQUE", "PRIMARY", "FOREIGN"} & parts.keys() else ""


def is_wider(old: str, new: str) -> bool:
    """Whether each value of one type is one of the other as it is stored: nothing is rewritten."""
    (old_name, *old_size), (new_name, *new_size) = _sized(old), _sized(new)
    if old_name == new_name == "numeric" and len(old_size) == len(new_size) == 2:  # noqa: PLR2004
        return bool(old_size[1] == new_size[1] and old_size[0] <= new_size[0])
    if old_name == "varchar" and new_name in {"varchar", "text"}:
        return not new_size or bool(old_size and old_size[0] <= new_size[0])
    return old_name == new_name and not new_size and old_name in {"numeric", "text", "varbit"}


def _sized(type_: str) -> list[Any]:
    name, _, sizes = type_.rstrip(")").partition("(")
    return [name.strip(), *(int(size) for size in sizes.split(",") if size.strip().isdigit())]
