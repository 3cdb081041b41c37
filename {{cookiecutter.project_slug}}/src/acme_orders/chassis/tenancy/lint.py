# feature: row, rls, schema
"""Refuses SQL that is not pinned to one tenant.

A tenant's table is pinned by `alias.tenant_id = value`, where AND joins this to all else in WHERE
or in the ON of a join. The value is a parameter, a constant, `current_setting(…)`, or the tenant_id
of what is pinned itself; `USING (tenant_id)` and `(a.tenant_id, a.id) = (%s, %s)` say the same.

All else pins nothing, even where it happens to be right: OR, NOT, `!=`, `IN`, `= ANY`,
`IS NOT DISTINCT FROM`, NATURAL JOIN, functions of the column, `schema.table.tenant_id`, the ON of
an outer join for the side whose rows all stay, and what a subquery or a CTE was pinned to inside.

Views and functions are not looked into.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_shape import remembered
from acme_orders.chassis.database.sql_text import QUERIES, children, descendants
from acme_orders.chassis.tenancy.guard import Judgement
from acme_orders.chassis.tenancy.sql import check_for_tenant
from acme_orders.chassis.tenancy.values import is_constant, pins

COLUMN = "tenant_id"


@remembered
def judged(sql: str, tables: frozenset[str], *, filled: bool) -> Judgement:
    """What is wrong with one SQL text; nothing when every statement is pinned to a tenant.

    Args:
        sql: as the driver gets it.
        tables: the names of the tables whose rows belong to tenants.
        filled: whether parameters go with it, for `%s` or `%(name)s`.
    """
    scope = _Scope(tables)
    problems = check_for_tenant(sql, functools.partial(_judge, around=scope), filled=filled)
    return Judgement(problems, tuple(dict.fromkeys(pins(scope.constants))))


@dataclass(frozen=True)
class _Scope:
    """What a query finds around itself: tenants' tables, CTEs, and the query that it is part of.

    `constants` collects what is given to `tenant_id` anywhere.
    """

    tables: frozenset[str]
    ctes: frozenset[str] = frozenset()
    outer: "_Query | None" = None
    constants: list[Any] = field(default_factory=list)


class _Query:
    """One query without those inside it: its relations, and which of them are pinned."""

    def __init__(self, node: Any, around: _Scope) -> None:
        self.inside = replace(
            around, ctes=around.ctes | set(_cte_names(node.with_clause)), outer=self
        )
        self.nodes = list(_own_nodes(node))
        self.tenants = [each for each in self.nodes if self._is_tenants(each, node)]
        self.names = Counter(name for each in self.nodes if (name := _name(each)))
        self.pinned: set[str] = set()
        self.outer = around.outer
        self._equal: list[tuple[str, str]] = []  # the first is pinned if the second is
        self._conditions: list[tuple[Any, set[str]]] = []  # each with the names that it may pin

        parts = ("relation", "from_clause", "using_clause", "source_relation")
        _, self._bare = self._relations([getattr(node, part, None) for part in parts])
        self._conditions.append((getattr(node, "where_clause", None), set(self.names)))
        if isinstance(node, ast.MergeStmt):
            self._conditions.append((node.join_condition, _matched_only(node)))
        if isinstance(node, ast.InsertStmt):  # its columns and values are judged instead
            self.names["excluded"] = 1
            self.pinned |= set(self.names)
        for condition, may_pin in self._conditions:
            self._read(condition, may_pin)
        self._settle()

    def fixes(self, value: Any) -> bool:
        """Whether this value is the same tenant in every row."""
        query, name = self._column(value)
        if query:
            return name in query.pinned
        if is_constant(value):
            self.inside.constants.append(value)
            return True
        return False

    def _is_tenants(self, each: Any, node: Any) -> bool:
        if not isinstance(each, ast.RangeVar) or each.relname not in self.inside.tables:
            return False
        # What has a schema is no CTE, and neither is the target of a write.
        target = each == getattr(node, "relation", None)
        return target or bool(each.schemaname) or each.relname not in self.inside.ctes

    def _relations(self, item: Any) -> tuple[set[str], set[str]]:
        """The names in a part of FROM, and those of them that a bare `tenant_id` may belong to.

        Only tenants' tables count for the latter: if others had the column, too, PostgreSQL would
        refuse it as ambiguous.
        """
        match item:
            case list():
                parts = [self._relations(each) for each in item]
                return set().union(*(a for a, _ in parts)), set().union(*(b for _, b in parts))
            case ast.JoinExpr():
                return self._join(item)
            case ast.RangeTableSample():
                return self._relations(item.relation)
        name = {_name(item)} - {""}
        if item in self.tenants:
            if item.alias and item.alias.colnames:
                self.names.update(name)  # another column may be the one called tenant_id here
            return name, name
        return name, set()

    def _join(self, item: Any) -> tuple[set[str], set[str]]:
        (left, left_bare), (right, right_bare) = map(self._relations, (item.larg, item.rarg))
        may_pin = {
            enums.JOIN_INNER: left | right,
            enums.JOIN_LEFT: right,
            enums.JOIN_RIGHT: left,
        }.get(item.jointype, set())
        self._conditions.append((item.quals, may_pin))
        if item.alias:
            self.names.update(left | right)  # hidden by it: their names mean an outer query's
        if COLUMN not in [each.sval for each in item.using_clause]:
            return left | right, left_bare | right_bare
        # PostgreSQL refuses USING where more than one on a side has the column.
        pairs = itertools.permutations(left_bare | right_bare, 2)
        self._equal += [(one, other) for one, other in pairs if one in may_pin]
        if item.jointype == enums.JOIN_RIGHT:
            return left | right, right_bare or left_bare
        return left | right, left_bare or right_bare

    def _read(self, condition: Any, may_pin: set[str]) -> None:
        match condition:
            case ast.BoolExpr(boolop=enums.AND_EXPR):
                for each in condition.args:
                    self._read(each, may_pin)
            case ast.A_Expr(kind=enums.AEXPR_OP, name=[ast.String(sval="=")]):
                self._equate(condition.lexpr, condition.rexpr, may_pin)

    def _equate(self, left: Any, right: Any, may_pin: set[str]) -> None:
        if isinstance(left, ast.RowExpr) and isinstance(right, ast.RowExpr):
            for pair in zip(left.args, right.args, strict=False):
                self._equate(*pair, may_pin)
            return
        for column, value in ((left, right), (right, left)):
            query, name = self._column(column)
            if query is self and name in may_pin:
                other_query, other = self._column(value)
                if other_query is self:
                    self._equal.append((name, other))
                elif self.fixes(value):
                    self.pinned.add(name)

    def _settle(self) -> None:
        unique = {name for name, count in self.names.items() if count == 1}
        self.pinned &= unique
        equal = [(one, other) for one, other in self._equal if one in unique]
        while new := {one for one, other in equal if other in self.pinned} - self.pinned:
            self.pinned |= new

    def _column(self, node: Any) -> tuple["_Query | None", str]:
        """The query and the relation whose tenant_id this is, if it is one."""
        match [getattr(each, "sval", None) for each in getattr(node, "fields", ())]:
            case [column] if column == COLUMN and len(self._bare) == 1:
                return self, next(iter(self._bare))
            case [str(name), column] if column == COLUMN:
                query: _Query | None = self
                while query and name not in query.names:
                    query = query.outer
                return query, name
        return None, ""


def _judge(node: Any, around: _Scope) -> Iterator[str]:
    if not isinstance(node, QUERIES):
        return
    query = _Query(node, around)
    yield from _judge_ctes(node.with_clause, around)
    for table in query.tenants:
        name = _name(table)
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


def _judge_ctes(clause: Any, around: _Scope) -> Iterator[str]:
    seen = set(_cte_names(clause)) if clause and clause.recursive else set()
    for cte in clause.ctes if clause else ():
        yield from _judge(cte.ctequery, replace(around, ctes=around.ctes | seen))
        seen.add(cte.ctename)


def _writes(node: Any, query: _Query, title: str) -> Iterator[str]:
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


def _gives(source: Any, at: int, around: _Scope) -> bool:
    """Whether each row that an INSERT takes from here has one tenant at this position."""
    if source is None:
        return False
    query = _Query(source, around)
    if source.op != enums.SETOP_NONE:
        return all(_gives(arm, at, query.inside) for arm in (source.larg, source.rarg))
    rows = [each.items for each in source.values_lists]
    rows = rows or [[each.val for each in source.target_list]]
    return all(_has_tenant(row, at, query) for row in rows)


def _has_tenant(row: Any, at: int, query: _Query) -> bool:
    # Behind a star nobody knows which column is which.
    star = any(isinstance(each, ast.A_Star) for each in descendants(row[:at]))
    return at < len(row) and not star and query.fixes(row[at])


def _own_nodes(node: Any) -> Iterator[Any]:
    """What is in a query, but not what is in the queries inside it."""
    for child in children(node):
        # WITH is judged by itself, and FOR UPDATE OF only repeats names.
        if isinstance(child, ast.WithClause | ast.LockingClause):
            continue
        yield child
        beside = isinstance(child, ast.RangeSubselect) and not child.lateral
        if not beside and not isinstance(child, QUERIES):
            yield from _own_nodes(child)


def _matched_only(merge: Any) -> set[str]:
    """Whose rows a MERGE touches only where its ON is true."""
    kinds = {when.match_kind for when in merge.merge_when_clauses}
    names = set()
    if enums.MERGE_WHEN_NOT_MATCHED_BY_SOURCE not in kinds:
        names.add(_name(merge.relation))
    if enums.MERGE_WHEN_NOT_MATCHED_BY_TARGET not in kinds:
        names.add(_name(merge.source_relation))
    return names


def _cte_names(clause: Any) -> list[str]:
    return [each.ctename for each in clause.ctes] if clause else []


def _position(columns: Any) -> int | None:
    names = [each.name for each in columns or ()]
    return names.index(COLUMN) if COLUMN in names else None


def _name(relation: Any) -> str:
    """What a query calls a relation; empty if it is none."""
    alias = getattr(relation, "alias", None)
    return (alias.aliasname if alias else getattr(relation, "relname", "")) or ""


def _title(table: Any) -> str:
    name = f"{table.schemaname}.{table.relname}" if table.schemaname else table.relname
    return f"{name} AS {table.alias.aliasname}" if table.alias else name
