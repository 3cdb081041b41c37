# feature: row, rls, schema
"""What no statement may do for a tenant, however tenants are kept apart."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from postgast import nodes as ast

from acme_orders.chassis.database import session_state
from acme_orders.chassis.database.sql_text import (
    QUERIES,
    called,
    check,
    descendants,
)

# What decides whose rows are seen: the tenant (`app.…`), the role, the schema, the policies.
_DECIDES = re.compile(r"app\..*|search_path|role|session_authorization|row_security", re.IGNORECASE)
_HARMLESS = (ast.VariableShowStmt, ast.FetchStmt, ast.ClosePortalStmt)


def check_for_tenant(
    sql: str, judge: Callable[[Any], Iterable[str]], *, filled: bool
) -> tuple[str, ...]:
    """What is wrong with SQL text.

    Args:
        sql: one or more statements.
        judge: says what is wrong with a query or a SET.
        filled: whether parameters go with it; see `check`.
    """
    return check(sql, partial(_judge, judge), filled=filled)


def _judge(judge: Callable[[Any], Iterable[str]], statement: Any) -> Iterable[str]:
    if found := list(session_state.judge(statement)):
        return found
    match statement:
        case ast.ExplainStmt() | ast.DeclareCursorStmt():
            return _judge(judge, statement.query)
        case _ if isinstance(statement, (*QUERIES, ast.VariableSetStmt)):
            return [*_settings(statement), *judge(statement)]
        case _ if isinstance(statement, _HARMLESS):
            return []
    tables = [
        str(each.relname) for each in descendants(statement) if isinstance(each, ast.RangeVar)
    ]
    what = " ".join((type(statement).__name__.removesuffix("Stmt").upper(), *tables))
    return [f"{what} may reach every tenant: only queries are run here"]


def _settings(statement: Any) -> Iterator[str]:
    for node in descendants(statement):
        if (setting := _changed(node)) is not None and _DECIDES.fullmatch(setting):
            yield f"{setting} decides whose rows are seen: only a transaction's beginning sets it"


def _changed(node: Any) -> str | None:
    """The setting that a node changes; one that matters if nobody knows which."""
    match node:
        case ast.VariableSetStmt():
            return str(node.name) if node.name else "role"  # RESET ALL has no name
        case ast.FuncCall() if called(node) == "set_config":
            match node.args:
                case [ast.A_Const(val=ast.String(sval=setting)), *_]:
                    return setting
            return "role"
    return None
