# feature: row, rls, schema
"""Refuses SQL that could leave the tenant's schema, which `search_path` selects.

Views, functions, and names that stand in strings are not looked into.
"""

import functools
from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast

from acme_orders.chassis.database.sql_shape import remembered
from acme_orders.chassis.database.sql_text import descendants
from acme_orders.chassis.tenancy.guard import Judgement
from acme_orders.chassis.tenancy.sql import check_for_tenant

_SHARED = {"pg_catalog", "information_schema", "public"}
_NAMES = ("funcname", "names", "name", "collname", "oper_name")  # of functions, types, operators


@remembered
def judged(sql: str, tables: frozenset[str], *, filled: bool) -> Judgement:
    """What is wrong with one SQL text; nothing when it stays in the tenant's schema.

    Args:
        sql: as the driver gets it.
        tables: the names of the tables that each tenant has for itself.
        filled: whether parameters go with it, for `%s` or `%(name)s`.
    """
    judge = functools.partial(_judge, tables=tables)
    return Judgement(check_for_tenant(sql, judge, filled=filled))


def _judge(statement: Any, tables: frozenset[str]) -> Iterator[str]:
    for node in descendants(statement):
        for schema, name in _qualified(node):
            if name in tables:
                yield f"{schema}.{name} names a schema: write {name}, search_path finds it"
            elif schema not in _SHARED:
                yield f"{schema}.{name} is in another schema: use only {', '.join(sorted(_SHARED))}"


def _qualified(node: Any) -> Iterator[tuple[str, str]]:
    """The schemas that a node names, each with what it names in it."""
    if isinstance(node, ast.RangeVar) and node.schemaname:
        yield node.schemaname, node.relname
    named = [getattr(node, each, None) for each in _NAMES]
    if isinstance(node, ast.ColumnRef):
        named.append(node.fields[:-1])
    for names in named:
        if isinstance(names, list) and len(names) > 1:
            yield names[-2].sval, names[-1].sval
