"""M3, M4: what the release before still uses."""

from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.migrations import recipes, replacements
from acme_orders.chassis.migrations.ddl import quoted
from acme_orders.chassis.migrations.header import Phase
from acme_orders.chassis.migrations.lint.findings import Refusal, Sheet
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.trees import (
    kind_of,
    names_of,
    not_null,
    table_of,
    type_of,
)
from acme_orders.chassis.migrations.type_changes import is_narrower

_DROPPED = {
    enums.OBJECT_TABLE: "table",
    enums.OBJECT_VIEW: "view",
    enums.OBJECT_MATVIEW: "materialized view",
    enums.OBJECT_SCHEMA: "schema",
    enums.OBJECT_TYPE: "type",
    enums.OBJECT_DOMAIN: "domain",
    enums.OBJECT_FUNCTION: "function",
    enums.OBJECT_PROCEDURE: "procedure",
    enums.OBJECT_SEQUENCE: "sequence",
    enums.OBJECT_EXTENSION: "extension",
}
_LATER = "It has to wait until no release uses it any more."


def old_code_breaks(  # noqa: C901, PLR0912  # a table
    sheet: Sheet, statement: Statement
) -> Iterator[Refusal]:
    """What the release before this one needs is taken away, outside of `phase: contract`."""
    if sheet.header.phase == Phase.CONTRACT:
        return
    node = statement.node
    match node:
        case ast.DropStmt(remove_type=kind, objects=objects) if kind in _DROPPED:
            for name in map(names_of, objects):
                if name not in sheet.known.new:
                    why = f"The release before this one still uses the {_DROPPED[kind]} {name}."
                    yield _later(sheet, statement, f"{why} {_LATER}", name)
        case ast.TruncateStmt(relations=relations):
            for table in map(table_of, relations):
                if table not in sheet.known.new:
                    yield _later(sheet, statement, "Its rows are gone for every release.", table)
        case ast.DropOwnedStmt():
            yield _later(sheet, statement, f"Whatever they own goes at once. {_LATER}", "")
        case ast.RenameStmt():
            yield from _renamed(sheet, statement)
        case ast.AlterObjectSchemaStmt(relation=relation) if relation is not None:
            if table_of(relation) not in sheet.known.new:
                why = "The release before this one looks for it where it is now."
                yield _later(sheet, statement, f"{why} {_LATER}", table_of(relation))
        case ast.AlterTableStmt(relation=relation, cmds=parts):
            table = table_of(relation)
            for part in parts if table not in sheet.known.new else ():
                yield from _altered(sheet, statement, table, part)


def _later(sheet: Sheet, statement: Statement, why: str, table: str) -> Refusal:
    up = f"{statement.sql.rstrip(';').rstrip()};"
    part = recipes.contract(up, "", "what it takes away is gone")
    return Refusal(why=why, lock=sheet.lock(statement.node, table), recipe=(part,))


def _renamed(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    node = statement.node
    table = table_of(node.relation) if node.relation is not None else ""
    if table in sheet.known.new:
        return
    why = f"The release before this one still says {node.subname or table}. {_LATER}"
    match node.rename_type:
        case enums.OBJECT_COLUMN:
            type_ = sheet.known.table(table).columns.get(node.subname) or "text"
            recipe = replacements.other_column(table, node.subname, node.newname, type_, type_)
            yield Refusal(why=why, lock=sheet.lock(node, table), recipe=recipe)
        case enums.OBJECT_TABLE | enums.OBJECT_VIEW:
            recipe = replacements.renamed_table(table, node.newname)
            yield Refusal(why=why, lock=sheet.lock(node, table), recipe=recipe)
        case enums.OBJECT_MATVIEW | enums.OBJECT_SCHEMA | enums.OBJECT_TYPE | enums.OBJECT_SEQUENCE:
            yield _later(sheet, statement, why, table)


def _altered(sheet: Sheet, statement: Statement, table: str, part: Any) -> Iterator[Refusal]:
    """A part of ALTER TABLE that old code does not survive."""
    column, known = part.name, sheet.known.table(table)
    alter = f"ALTER TABLE {table}"
    match kind_of(part):
        case "DropColumn":
            type_ = known.columns.get(column) or "text"
            drop = f"{alter} DROP COLUMN {quoted(column)};"
            back = f"{alter} ADD COLUMN {quoted(column)} {type_};"
            why = f"SELECTs and INSERTs of the release before name {column}. {_LATER}"
            part = recipes.contract(drop, back, f"the values of {column} are gone")
            yield Refusal(why, (part,), sheet.lock(statement.node, table))
        case "DropConstraint":
            constraint = known.constraints.get(column)
            if constraint is None or constraint.kind != "CHECK":
                why = f"ON CONFLICT and rows without {column} are what old code does not expect."
                yield _later(sheet, statement, why, table)
        case "ColumnDefault" if part.def_ is None:
            why = f"INSERTs of the release before leave {column} out, and rely on its default."
            yield _later(sheet, statement, why, table)
        case "DropIdentity" | "DropExpression":
            why = f"INSERTs of the release before leave {column} out, as PostgreSQL fills it."
            yield _later(sheet, statement, why, table)
        case "DropNotNull":
            why = f"The release before does not expect to read a NULL from {column}."
            yield _later(sheet, statement, why, table)
        case "AddConstraint" if columns := not_null(part.def_.raw_expr) - known.not_null:
            why = f"INSERTs of the release before may leave {', '.join(sorted(columns))} empty."
            yield _later(sheet, statement, why, table)
        case "AlterColumnType":
            old, new = known.columns.get(column, ""), type_of(part.def_.type_name)
            if is_narrower(old, new):
                why = f"The release before writes {old}, which may not fit into {new}."
                recipe = replacements.narrowed(table, column, new, old)
                yield Refusal(why=why, lock=sheet.lock(statement.node, table), recipe=recipe)


def nothing_is_required(sheet: Sheet, _: Statement) -> Iterator[Refusal]:
    """`phase: contract` without the release or the backfill that makes it safe."""
    header = sheet.header
    if header.phase == Phase.CONTRACT and not (header.release or header.backfills):
        yield Refusal(
            why="Nothing keeps it from running while something still uses what it takes away.",
            also=(
                f"Say at the head `-- requires: release {recipes.next_release()}`, the first "
                "release that no longer uses it, or `-- requires: backfill NAME`, or both."
            ),
        )
