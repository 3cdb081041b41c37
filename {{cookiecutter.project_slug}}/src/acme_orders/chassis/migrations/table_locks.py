"""The locks of ALTER TABLE, part by part."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from postgast import nodes as ast

from acme_orders.chassis.database.sql_text import descendants
from acme_orders.chassis.migrations.known import Known
from acme_orders.chassis.migrations.trees import (
    columns_of,
    constraints_of,
    is_serial,
    is_volatile,
    kind_of,
    table_of,
    type_of,
)
from acme_orders.chassis.migrations.type_changes import Anew, anew

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
            work = _type_work(table, part.name, node, known)
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


def _type_work(table: str, column: str, to: Any, known: Known) -> str:
    """What a change of a column's type does to its table."""
    new = type_of(to.type_name)
    written = anew(known.table(table).columns.get(column, ""), new)
    if written == Anew.TABLE or not _is_cast(to.raw_default, column, new):
        return REWRITES
    read = written == Anew.INDEXES or to.coll_clause is not None or known.checks(table, column)
    return SCANS if read else ""


def _is_cast(using: Any, column: str, type_: str) -> bool:
    """Whether USING, if there is one, says what would be done without it."""
    match using:
        case ast.TypeCast(arg=ast.ColumnRef() as reference, type_name=cast):
            return columns_of(reference) == {column} and type_of(cast) == type_
    return using is None
