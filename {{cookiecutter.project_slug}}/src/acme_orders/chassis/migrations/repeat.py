"""Makes statements that are committed one by one repeatable, whatever interrupted the last try.

An index that was being built when its runner was killed stays, invalid: no query uses it, each
write pays for it, and IF NOT EXISTS takes it for the index.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import postgast
from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.migrations.sql import Statement

_INDEX = """
SELECT i.indisvalid AND i.indisready, i.indrelid = to_regclass(%s), i.indrelid::regclass::text,
    i.indisunique, pg_get_indexdef(c.oid), c.oid::regclass::text, c.oid
FROM pg_class AS c JOIN pg_class AS t ON t.oid = to_regclass(%s) LEFT JOIN pg_index AS i
    ON i.indexrelid = c.oid
WHERE c.relname = %s AND c.relnamespace = t.relnamespace
"""
_LEFT = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relkind = 'i' AND relname ~ '_cc(new|old)[0-9]*$'
    AND indrelid IN (
        to_regclass(%s), (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%s)))
"""
_VALUE = "SELECT true FROM pg_enum WHERE enumtypid = to_regtype(%s) AND enumlabel = %s"
_PARTITION = """
SELECT inhdetachpending FROM pg_inherits
WHERE inhparent = to_regclass(%s) AND inhrelid = to_regclass(%s)
"""


class Refused(Exception):
    """What is there is not what the statement would make; says what helps."""


def prepare(statement: Statement, rows: Rows, *, again: bool) -> tuple[str, list[str]]:
    """What has to be sent for a statement, and what was put right before it.

    Args:
        statement: that is committed by itself.
        rows: runs SQL in its session.
        again: an earlier try may have done it.

    Returns:
        SQL, empty if it is done; and what to tell.

    Raises:
        Refused: something else is there under this name.
    """
    node = statement.node
    match node:
        case ast.IndexStmt(concurrent=True):
            return _index(statement, rows)
        case ast.ReindexStmt():
            return statement.sql, clean(statement, rows)
        case ast.DropStmt(concurrent=True, objects=[ast.List(items=name)]) if again:
            there = rows("SELECT to_regclass(%s)", (_name(name),))[0][0]
            return (statement.sql, []) if there else ("", [])
        case ast.AlterEnumStmt(type_name=names, new_val=value) if again:
            return ("" if rows(_VALUE, (_name(names), value)) else statement.sql), []
        case ast.AlterTableStmt(
            cmds=[
                ast.AlterTableCmd(
                    subtype=enums.AT_DetachPartition, def_=ast.PartitionCmd(name=partition)
                )
            ]
        ) if again:
            return _detach(statement, _relation(node.relation), _relation(partition), rows)
    return statement.sql, []


def verify(statement: Statement, rows: Rows) -> None:
    """Check that a statement did what it says.

    Raises:
        Refused: its index is not valid.
    """
    match statement.node:
        case ast.IndexStmt(concurrent=True):
            found = _found(statement.node, rows)
            if not found or not found[0]:
                raise Refused(f"the index {statement.node.idxname} is not valid")


def clean(statement: Statement, rows: Rows) -> list[str]:
    """Remove what a failed statement left; says what."""
    names: Sequence[str] = ()
    match statement.node:
        case ast.IndexStmt(concurrent=True) as node:
            found = _found(node, rows)
            names = [found[5]] if found and found[0] is False and found[1] else ()
        case ast.ReindexStmt(relation=ast.RangeVar() as relation):
            name = _relation(relation)
            names = [each for (each,) in rows(_LEFT, (name, name))]
    return list(_dropped(names, rows))


def _index(statement: Statement, rows: Rows) -> tuple[str, list[str]]:
    node = statement.node
    found = _found(node, rows)
    if found is None:
        return statement.sql, []
    valid, same_table, table, unique, definition, name, _ = found
    if not same_table:
        of = f"an index of {table}" if table else "no index"
        raise Refused(f"{name} is there already, and is {of}: take another name")
    if not valid:
        return statement.sql, list(_dropped([name], rows))
    if (unique, _body(definition)) != _wanted(statement, rows):
        raise Refused(
            f"the index {name} is there already, and is another one: {definition}; take another "
            f"name, or remove it first in a migration of its own: DROP INDEX CONCURRENTLY {name}"
        )
    return "", [f"the index {name} is there already, valid and the same"]


def _found(node: Any, rows: Rows) -> Any:
    table = _relation(node.relation)
    return next(iter(rows(_INDEX, (table, table, node.idxname))), None)


def _wanted(statement: Statement, rows: Rows) -> tuple[bool, str]:
    """What PostgreSQL would say of the index: only it knows how it writes an expression.

    Found out on an empty copy of the table, which is gone at once.
    """
    tree = postgast.parse(statement.sql)
    index = tree.stmts[0].stmt.index_stmt
    table = _relation(statement.node.relation)
    index.concurrent = index.if_not_exists = False
    index.relation.schemaname, index.relation.relname, index.idxname = "pg_temp", "twin", "twin_i"
    rows("BEGIN")
    try:
        rows(f"CREATE TEMP TABLE twin (LIKE {table}) ON COMMIT DROP")
        rows(postgast.deparse(tree))
        found = "SELECT indisunique, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = "
        ((unique, definition),) = rows(f"{found} 'pg_temp.twin_i'::regclass")
    finally:
        rows("ROLLBACK")
    return unique, _body(definition)


def _body(definition: str) -> str:
    return definition.partition(" USING ")[2]


def _detach(statement: Statement, table: str, partition: str, rows: Rows) -> tuple[str, list[str]]:
    state = rows(_PARTITION, (table, partition))
    if not state:
        return "", []
    if state[0][0]:
        return f"ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE", []
    return statement.sql, []


def _dropped(names: Sequence[str], rows: Rows) -> Iterator[str]:
    for name in names:
        rows(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        yield f"removed the invalid index {name}"


def _relation(node: Any) -> str:
    return ".".join(_quoted(each) for each in (node.schemaname, node.relname) if each)


def _name(parts: Sequence[Any]) -> str:
    return ".".join(_quoted(each.sval) for each in parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
