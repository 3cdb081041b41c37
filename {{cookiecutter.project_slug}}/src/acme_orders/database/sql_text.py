# feature: row, rls, schema
"""Reads SQL as the drivers get it, for rules about what a statement may name.

What cannot be read, and what is neither a query nor harmless, is refused.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pglast import ast
from pglast.enums import TransactionStmtKind
from pglast.parser import ParseError, parse_sql, scan

QUERIES = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)

_PLACEHOLDER = re.compile(r"%(?:(%)|s|\([^)]+\)s)")
# What decides whose rows are seen: the tenant (`app.…`), the role, the schema, the policies.
_DECIDES = re.compile(r"app\..*|search_path|role|session_authorization|row_security", re.IGNORECASE)
_HARMLESS = (ast.VariableShowStmt, ast.FetchStmt, ast.ClosePortalStmt)
_TRANSACTION = {
    TransactionStmtKind.TRANS_STMT_BEGIN,
    TransactionStmtKind.TRANS_STMT_START,
    TransactionStmtKind.TRANS_STMT_COMMIT,
    TransactionStmtKind.TRANS_STMT_ROLLBACK,
    TransactionStmtKind.TRANS_STMT_SAVEPOINT,
    TransactionStmtKind.TRANS_STMT_RELEASE,
    TransactionStmtKind.TRANS_STMT_ROLLBACK_TO,
}


def check(sql: str, judge: Callable[[Any], Iterable[str]]) -> list[str]:
    """What is wrong with SQL text.

    Args:
        sql: one or more statements, with `%s` or `%(name)s` for each parameter.
        judge: says what is wrong with a query or a SET LOCAL.
    """
    if "\0" in sql:
        return ["a NUL character hides from the parser what follows it: leave it out"]
    try:
        text = _with_numbers(sql)
        if text is None:
            return ["a placeholder stands in quotes or a comment, or beside $1: write %% for %"]
        found = [each for raw in parse_sql(text) for each in _judge(raw.stmt, judge)]
    except (ParseError, UnicodeEncodeError, RecursionError) as error:
        return [f"this SQL cannot be read, so nothing is known about it: {error}"]
    return list(dict.fromkeys(found))


def descendants(node: Any) -> Iterator[Any]:
    """The node, if it is one, and all nodes under it."""
    if isinstance(node, ast.Node):
        yield node
    for child in children(node):
        yield from descendants(child)


def children(node: Any) -> Iterator[Any]:
    """The nodes right under a node, or in a tuple of nodes and tuples."""
    values = node if isinstance(node, tuple) else (getattr(node, name) for name in node)
    for value in values:
        if isinstance(value, ast.Node):
            yield value
        elif isinstance(value, tuple):
            yield from children(value)


def _with_numbers(sql: str) -> str | None:
    """The SQL with `$1`, `$2`, … for its placeholders; None if it could be read in two ways.

    A driver fills a placeholder in quotes, too, and the value could end the quotes.
    """
    numbers = itertools.count(1)
    text = _PLACEHOLDER.sub(lambda found: found[1] or f"${next(numbers)}", sql)
    parameters = sum(token.name == "PARAM" for token in scan(text))
    return text if parameters == next(numbers) - 1 else None


def _judge(statement: Any, judge: Callable[[Any], Iterable[str]]) -> Iterable[str]:
    match statement:
        case ast.ExplainStmt() | ast.DeclareCursorStmt():
            return _judge(statement.query, judge)
        case ast.SelectStmt() if any(isinstance(e, ast.IntoClause) for e in descendants(statement)):
            problem = "SELECT INTO makes a table: make it in a migration"
        case ast.VariableSetStmt(is_local=False) if statement.name != "TRANSACTION":
            problem = f"SET {statement.name} would outlive the transaction: write SET LOCAL"
        case _ if isinstance(statement, (*QUERIES, ast.VariableSetStmt)):
            return [*_settings(statement), *judge(statement)]
        case _ if isinstance(statement, _HARMLESS) or _is_transaction(statement):
            return []
        case _:
            tables = [str(e.relname) for e in descendants(statement) if isinstance(e, ast.RangeVar)]
            what = " ".join((type(statement).__name__.removesuffix("Stmt").upper(), *tables))
            problem = f"{what} may reach every tenant: only queries and transactions are run here"
    return [problem]


def _settings(statement: Any) -> Iterator[str]:
    for node in descendants(statement):
        if (setting := _changed(node)) is not None and _DECIDES.fullmatch(setting):
            yield f"{setting} decides whose rows are seen: only a transaction's beginning sets it"


def _changed(node: Any) -> str | None:
    """The setting that a node changes; the first that matters if nobody knows which."""
    match node:
        case ast.VariableSetStmt():
            return str(node.name) if node.name else "role"  # RESET ALL has no name
        case ast.FuncCall(funcname=(*_, ast.String(sval="set_config"))):
            match node.args:
                case (ast.A_Const(val=ast.String(sval=str(setting))), *_):
                    return setting
            return "role"
    return None


def _is_transaction(statement: Any) -> bool:
    return isinstance(statement, ast.TransactionStmt) and statement.kind in _TRANSACTION
