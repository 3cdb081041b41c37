# feature: row, rls
"""Which relations of a query are pinned to one tenant.

A tenant's table is pinned by `alias.tenant_id = value`, where AND joins this to all else in WHERE
or in the ON of a join. The value is a parameter, a constant, `current_setting(…)`, or the tenant_id
of what is pinned itself; `USING (tenant_id)` and `(a.tenant_id, a.id) = (%s, %s)` say the same.

All else pins nothing, even where it happens to be right: OR, NOT, `!=`, `IN`, `= ANY`,
`IS NOT DISTINCT FROM`, NATURAL JOIN, functions of the column, `schema.table.tenant_id`, the ON of
an outer join for the side whose rows all stay, and what a subquery or a CTE was pinned to inside.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import QUERIES, children
from acme_orders.chassis.tenancy.values import is_constant

COLUMN = "tenant_id"


@dataclass(frozen=True)
class Scope:
    """What a query finds around itself: tenants' tables, CTEs, and the query that it is part of.

    `constants` collects what is given to `tenant_id` anywhere.
    """

    tables: frozenset[str]
    ctes: frozenset[str] = frozenset()
    outer: "Query | None" = None
    constants: list[Any] = field(default_factory=list)


class Query:
    """One query without those inside it: its relations, and which of them are pinned."""

    def __init__(self, node: Any, around: Scope) -> None:
        self.inside = replace(
            around, ctes=around.ctes | set(cte_names(node.with_clause)), outer=self
        )
        self.nodes = list(_own_nodes(node))
        self.tenants = [each for each in self.nodes if self._is_tenants(each, node)]
        self.names = Counter(name for each in self.nodes if (name := name_of(each)))
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
        name = {name_of(item)} - {""}
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

    def _column(self, node: Any) -> tuple["Query | None", str]:
        """The query and the relation whose tenant_id this is, if it is one."""
        match [getattr(each, "sval", None) for each in getattr(node, "fields", ())]:
            case [column] if column == COLUMN and len(self._bare) == 1:
                return self, next(iter(self._bare))
            case [str(name), column] if column == COLUMN:
                query: Query | None = self
                while query and name not in query.names:
                    query = query.outer
                return query, name
        return None, ""


def name_of(relation: Any) -> str:
    """What a query calls a relation; empty if it is none."""
    alias = getattr(relation, "alias", None)
    return (alias.aliasname if alias else getattr(relation, "relname", "")) or ""


def cte_names(clause: Any) -> list[str]:
    """What a WITH calls its queries; empty if there is none."""
    return [each.ctename for each in clause.ctes] if clause else []


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
        names.add(name_of(merge.relation))
    if enums.MERGE_WHEN_NOT_MATCHED_BY_TARGET not in kinds:
        names.add(name_of(merge.source_relation))
    return names
