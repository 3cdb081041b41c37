"""M1: rows that a migration writes."""

from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import descendants, parse
from acme_orders.chassis.migrations.lint.findings import Refusal, Sheet
from acme_orders.chassis.migrations.recipes import Part, short
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.table_locks import WRITE, Lock
from acme_orders.chassis.migrations.trees import (
    changed,
    read_by,
    statement_sql,
    table_of,
)


def rows_are_written(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """`UPDATE`, `DELETE`, `MERGE`, `INSERT … SELECT` and `CREATE TABLE … AS` on a table in use."""
    for node in descendants(statement.node):
        match node:
            case ast.UpdateStmt(relation=target) | ast.DeleteStmt(relation=target):
                yield from _written(sheet, node, target)
            case ast.MergeStmt(relation=target):
                yield from _written(sheet, node, target)
            case ast.InsertStmt(relation=target, select_stmt=ast.SelectStmt() as query):
                if query.from_clause or any(map(sheet.is_used, read_by(query))):
                    yield from _written(sheet, node, target)
            case ast.SelectStmt(into_clause=ast.IntoClause(rel=relation)):
                yield from _selected(sheet, node, table_of(relation))
            case ast.CreateTableAsStmt(into=ast.IntoClause(skip_data=False)):
                yield from _copied(sheet, node, node.query)


def _written(sheet: Sheet, node: Any, target: Any) -> Iterator[Refusal]:
    used = [each for each in (table_of(target), *read_by(node)) if sheet.is_used(each)]
    if not used:
        return
    table = used[0]
    name = short(table, *_columns(node)[:2])
    yield Refusal(
        why=(
            "One statement for all rows holds each of them until COMMIT, so whoever writes one "
            "waits that long; a table of millions makes it minutes, and dead rows of all of them."
        ),
        lock=sheet.lock(node, table) or Lock(table, WRITE),
        also=(
            f"Leave it out of the migrations, and write backfills/{name}.py, which does the same "
            f"in chunks that commit: `{statement_sql(node)}` for the rows of a chunk. What needs "
            f"it says `-- requires: backfill {name}`."
        ),
    )


def _columns(node: Any) -> list[str]:
    listed = getattr(node, "target_list", None) or []
    return [each.name for each in listed if isinstance(each, ast.ResTarget)] or ["rows"]


def _selected(sheet: Sheet, node: Any, table: str) -> Iterator[Refusal]:
    """`SELECT … INTO`, which is CREATE TABLE … AS in another form."""
    bare = changed(node)
    bare._pb.ClearField("into_clause")  # noqa: SLF001
    (again,) = parse(f"CREATE TABLE {table} AS {statement_sql(bare)}")
    yield from _copied(sheet, again.stmt, bare)


def _copied(sheet: Sheet, node: Any, query: Any) -> Iterator[Refusal]:
    used = [table for table in read_by(query) if sheet.is_used(table)]
    if used and node.objtype != enums.OBJECT_MATVIEW:
        table = table_of(node.into.rel)
        empty = changed(node)
        empty._pb.into.skip_data = True  # noqa: SLF001
        yield Refusal(
            why="What is written while it copies is missing in the copy.",
            lock=sheet.lock(node, used[0]),
            recipe=(Part(statement_sql(empty), f"DROP TABLE {table};"),),
            also=f"The code writes both from then on; the backfill {short(table)} copies the rows.",
        )
