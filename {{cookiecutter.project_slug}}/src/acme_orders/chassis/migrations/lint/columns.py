"""M5, M10, M12: what is done to columns."""

from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast

from acme_orders.chassis.database.sql_text import descendants
from acme_orders.chassis.migrations import recipes, replacements
from acme_orders.chassis.migrations.ddl import quoted
from acme_orders.chassis.migrations.header import Phase
from acme_orders.chassis.migrations.lint.findings import Refusal, Sheet, in_quiet
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.table_locks import (
    ALL,
    REWRITES,
    SCANS,
    Lock,
    part_locks,
)
from acme_orders.chassis.migrations.trees import (
    constraints_of,
    is_serial,
    kind_of,
    table_of,
    type_of,
)
from acme_orders.chassis.migrations.type_changes import (
    Anew,
    anew,
    is_narrower,
)

_ANEW = "Every row is written anew meanwhile, and nobody can even read the table."


def parts_of(sheet: Sheet, statement: Statement, *kinds: str) -> Iterator[tuple[str, Any]]:
    """The parts of ALTER TABLE of these kinds, with the table; only where it is in use."""
    match statement.node:
        case ast.AlterTableStmt(relation=relation, cmds=parts):
            table = table_of(relation)
            if sheet.is_used(table):
                yield from ((table, each) for each in parts if kind_of(each) in kinds)


def null_is_forbidden(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """`SET NOT NULL` without a check that proves it, and a column NOT NULL without a default."""
    for table, part in parts_of(sheet, statement, "SetNotNull"):
        if not sheet.known.proved(table, part.name):
            yield Refusal(
                why="Nobody can use the table while all of it is read for a NULL.",
                lock=Lock(table, ALL, SCANS),
                recipe=recipes.not_null(table, part.name),
            )
    for table, part in parts_of(sheet, statement, "AddConstraint"):
        if kind_of(part.def_) == "NOTNULL" and not part.def_.skip_validation:  # PostgreSQL 18
            yield Refusal(
                why="Nobody can use the table while all of it is read for a NULL.",
                lock=Lock(table, ALL, SCANS),
                recipe=recipes.not_null(table, part.def_.keys[0].sval),
            )
    for table, part in parts_of(sheet, statement, "AddColumn"):
        given = constraints_of(part.def_)
        empty = {"NOTNULL", "PRIMARY"} & given.keys()
        made = {"DEFAULT", "IDENTITY", "GENERATED"} & given.keys() or is_serial(part.def_)
        if empty and not made:
            yield Refusal(
                why="It fails where there are rows, and so do INSERTs of the release before.",
                recipe=recipes.new_column(table, part.def_),
            )


def values_are_written(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """A column whose values PostgreSQL makes for each row, and a column of another type."""
    for table, part in parts_of(sheet, statement, "AddColumn"):
        if any(each.work == REWRITES for each in part_locks(table, part, sheet.known)):
            yield Refusal(
                why=_ANEW,
                lock=Lock(table, ALL, REWRITES),
                recipe=recipes.new_column(table, part.def_),
            )
    for table, part in parts_of(sheet, statement, "AlterColumnType"):
        lock = [each for each in part_locks(table, part, sheet.known) if each.table == table][-1]
        old = sheet.known.table(table).columns.get(part.name) or "text"
        type_ = type_of(part.def_.type_name)
        told = is_narrower(old, type_) and sheet.header.phase != Phase.CONTRACT  # by M3
        if lock.work and not told:
            yield _other_type(sheet, table, part, lock, old)


def _other_type(sheet: Sheet, table: str, part: Any, lock: Lock, old: str) -> Refusal:
    """A type that does not come in a moment: what PostgreSQL does, and what spares it."""
    column, type_ = part.name, type_of(part.def_.type_name)
    checks = sheet.known.checks(table, column)
    if lock.work == SCANS and checks and anew(old, type_) == Anew.NOTHING:
        change = f"ALTER COLUMN {quoted(column)} TYPE {type_}"
        back = f"ALTER COLUMN {quoted(column)} TYPE {old}"
        return Refusal(
            why=f"Nobody can use the table while its rows are checked for {', '.join(checks)}.",
            lock=lock,
            recipe=recipes.unchecked(table, checks, change, back),
        )
    plain = type_.partition("(")[0].replace(" ", "_")
    recipe = replacements.other_column(table, column, recipes.short(column, plain), type_, old)
    if lock.work == SCANS:
        why = "The indexes of the column are made anew meanwhile, and nobody can read the table."
        return Refusal(why, recipe, lock)
    return Refusal(f"{_ANEW} So are its indexes.", recipe, lock)


def tables_are_rewritten(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """`VACUUM FULL`, `CLUSTER`, another tablespace, `SET LOGGED` and the like."""
    node = statement.node
    tables = [each for each in _rewritten(sheet, node) if sheet.is_used(each.table)]
    for lock in tables:
        vacuum = isinstance(node, ast.VacuumStmt)
        nothing = "SELECT 1;" if isinstance(node, ast.ClusterStmt) else ""
        plain = (recipes.Part(f"VACUUM (ANALYZE) {lock.table};", "SELECT 1;"),)
        also = "pg_repack does the same while the table is used; otherwise do it in a window."
        if vacuum:
            also = "VACUUM frees space for new rows; pg_repack gives it back while it is used."
        quiet = in_quiet(statement, "M12", "maintenance window", nothing)
        yield Refusal(_ANEW, plain if vacuum else quiet, lock, also)


def _rewritten(sheet: Sheet, node: Any) -> Iterator[Lock]:
    match node:
        case ast.VacuumStmt() | ast.ClusterStmt() | ast.AlterTableMoveAllStmt():
            yield from (each for each in sheet.locks(node) if each.work == REWRITES)
        case ast.AlterTableStmt(relation=relation, cmds=parts):
            for part in parts:
                if kind_of(part) not in {"AddColumn", "AlterColumnType"}:
                    for each in part_locks(table_of(relation), part, sheet.known):
                        if each.work == REWRITES:
                            yield each


def types_are_unfit(_: Sheet, statement: Statement) -> Iterator[Refusal]:
    """`json`, which has no equality, and keys of 32 bits, which run out."""
    for node in descendants(statement.node):
        if not isinstance(node, ast.ColumnDef) or node.type_name is None:
            continue
        type_, name = type_of(node.type_name), node.colname
        if type_ == "json":
            yield Refusal(why=f"json has no =, so DISTINCT and UNION fail: make {name} jsonb.")
        elif type_ in {"int", "smallint"} and {"PRIMARY", "IDENTITY"} & constraints_of(node).keys():
            yield Refusal(why=f"A key of {type_} runs out of numbers: make {name} bigint.")
