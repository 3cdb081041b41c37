# feature: row, rls, schema
"""Refuses SQL that is not pinned to one tenant.

What pins a table, and what does not, stands in `pinned.py`. Views and functions are not looked
into.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_shape import remembered
from acme_orders.chassis.database.sql_text import QUERIES, descendants
from acme_orders.chassis.tenancy.guard import Judgement
from acme_orders.chassis.tenancy.pinned import (
    COLUMN,
    Query,
    Scope,
    cte_names,
    name_of,
)
from acme_orders.chassis.tenancy.sql import check_for_tenant
from acme_orders.chassis.tenancy.values import pins


@remembered
def judged(sql: str, tables: frozenset[str], *, filled: bool) -> Judgement:
    """What is wrong with one SQL text; nothing when every statement is pinned to a tenant.

    Args:
        sql: as the driver gets it.
        tables: the names of the tables whose rows belong to tenants.
        filled: whether parameters go with it, for `%s` or `%(name)s`.
    """
    scope = Scope(tables)
    problems = check_for_tenant(sql, functools.partial(_judge, around=scope), filled=filled)
    return Judgement(problems, tuple(dict.fromkeys(pins(scope.constants))))


def _judge(node: Any, around: Scope) -> Iterator[str]:
    if not isinstance(node, QUERIES):
        return
    query = Query(node, around)
    yield from _judge_ctes(node.with_clause, around)
    for table in query.tenants:
        name = name_of(table)
        if query.names[name] > 1:
            yield f"{_title(table)} is hidden or twice: give it its own alias, without column names"
        elif name not in query.pinned:
            yield (
                f"{_title(table)} is not pinned: "
                f"add {name}.{COLUMN} = %s to its WHERE or ON, joined by AND"
            )
    for each in query.nodes:
        if isinstance(each, ast.RangeSubselect) and not each.lateral:
            yield from _judge(each.subquery, replace(around, ctes=query.inside.ctes))
        elif isinstance(each, QUERIES):
            yield from _judge(each, query.inside)
    target = getattr(node, "relation", None)
    if target and target.relname in around.tables:
        yield from _writes(node, query, _title(target))


def _judge_ctes(clause: Any, around: Scope) -> Iterator[str]:
    seen = set(cte_names(clause)) if clause and clause.recursive else set()
    for cte in clause.ctes if clause else ():
        yield from _judge(cte.ctequery, replace(around, ctes=around.ctes | seen))
        seen.add(cte.ctename)


def _writes(node: Any, query: Query, title: str) -> Iterator[str]:
    """What is wrong with the rows that a query writes to a tenant's table."""
    match node:
        case ast.UpdateStmt():
            yield from _assigns(node.target_list, title)
        case ast.InsertStmt():
            at = _position(node.cols)
            if at is None or not _gives(node.select_stmt, at, query.inside):
                yield _inserts(title)
            conflict = node.on_conflict_clause
            if conflict and conflict.infer and _position(conflict.infer.index_elems) is None:
                yield f"ON CONFLICT of {title} may meet another tenant's row: add {COLUMN} to it"
            yield from _assigns(conflict and conflict.target_list, title)
        case ast.MergeStmt():
            for when in node.merge_when_clauses:
                yield from _writes(when, query, title)
        case ast.MergeWhenClause(command_type=enums.CMD_UPDATE):
            yield from _assigns(node.target_list, title)
        case ast.MergeWhenClause(command_type=enums.CMD_INSERT):
            at = _position(node.target_list)
            if at is None or not _has_tenant(node.values, at, query):
                yield _inserts(title)


def _inserts(title: str) -> str:
    return f"INSERT into {title} lacks its tenant: list {COLUMN} and give it %s in every row"


def _assigns(targets: Any, title: str) -> Iterator[str]:
    if _position(targets) is not None:
        yield f"UPDATE of {title} sets {COLUMN}: a row stays with its tenant, leave it out"


def _gives(source: Any, at: int, around: Scope) -> bool:
    """Whether each row that an INSERT takes from here has one tenant at this position."""
    if source is None:
        return False
    query = Query(source, around)
    if source.op != enums.SETOP_NONE:
        return all(_gives(arm, at, query.inside) for arm in (source.larg, source.rarg))
    rows = [each.items for each in source.values_lists]
    rows = rows or [[each.val for each in source.target_list]]
    return all(_has_tenant(row, at, query) for row in rows)


def _has_tenant(row: Any, at: int, query: Query) -> bool:
    # Behind a star nobody knows which column is which.
    star = any(isinstance(each, ast.A_Star) for each in descendants(row[:at]))
    return at < len(row) and not star and query.fixes(row[at])


def _position(columns: Any) -> int | None:
    names = [each.name for each in columns or ()]
    return names.index(COLUMN) if COLUMN in names else None


def _title(table: Any) -> str:
    name = f"{table.schemaname}.{table.relname}" if table.schemaname else table.relname
    return f"{name} AS {table.alias.aliasname}" if table.alias else name
