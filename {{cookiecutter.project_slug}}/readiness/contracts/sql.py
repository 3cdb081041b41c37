"""Statements as contracts keep them: one spelling, and what can be read from the text alone."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import postgast
from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import (
    QUERIES,
    descendants,
    numbered,
    parse,
)

_WRITES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
# A clause begins a line: a review then shows which one was changed.
_CLAUSES = {
    *("SELECT", "FROM", "WHERE", "GROUP_P", "HAVING", "ORDER", "LIMIT", "OFFSET", "RETURNING"),
    *("SET", "VALUES", "UNION", "ON", "FOR", "INSERT", "LEFT", "RIGHT", "JOIN", "USING"),
}
_SIDES = {"LEFT", "RIGHT"}
_QUOTED = re.compile(r'"[a-z_][a-z0-9_]*"')
_COMMENTS = {"SQL_COMMENT", "C_COMMENT"}
_CURSOR = re.compile(r"\s*DECLARE\s.*?\sCURSOR\s+(?:WITHOUT\s+HOLD\s+)?FOR\s", re.IGNORECASE)


class Read(NamedTuple):
    """What the text of a statement says.

    Args:
        lines: with `$1` for a value.
        tables: that it names.
        writes: whether it changes any.
        limit: the most rows: a number, or the parameter that has it.
    """

    lines: tuple[str, ...]
    tables: tuple[str, ...]
    writes: bool
    limit: int | str | None


def read(sql: str, parameters: Sequence[Any]) -> Read:
    """Read a statement that was sent with placeholders of the driver; a cursor is its query.

    Raises:
        ValueError: it is no query, or its placeholders cannot be told from its text.
    """
    sql = without_cursor(sql)
    text = numbered(sql) if parameters else sql
    if text is None:
        raise ValueError("a placeholder stands in quotes")
    (raw,) = parse(text)
    statement = raw.stmt
    if not isinstance(statement, QUERIES):
        raise ValueError("this is no query")  # noqa: TRY004  # of the text, not of a type
    nodes = list(descendants(statement))
    ctes = {each.ctename for each in nodes if isinstance(each, ast.CommonTableExpr)}
    tables = {each.relname for each in nodes if isinstance(each, ast.RangeVar)} - ctes
    writes = any(isinstance(each, _WRITES) for each in nodes)
    return Read(_lines(text), tuple(sorted(tables)), writes, _limit(statement))


def without_cursor(sql: str) -> str:
    """The query of a cursor; any other SQL as it is."""
    return _CURSOR.sub("", sql, count=1)


def _lines(text: str) -> tuple[str, ...]:
    """The tokens of a text as they were written, a space where there was any room or a comment."""
    encoded, lines, before, end = text.encode(), [""], "", 0
    for token in postgast.scan(text).tokens:
        name = enums.Token.Name(token.token)
        if name in _COMMENTS:
            continue
        if name in _CLAUSES and not (name == "JOIN" and before in _SIDES):
            lines.append("")
        elif token.start > end and lines[-1]:
            lines[-1] += " "
        lines[-1] += _bare(encoded[token.start : token.end].decode())
        before, end = name, token.end
    return tuple(filter(None, lines))


def _bare(token: str) -> str:
    """A name without the quotes that Peewee puts around each, if it means the same."""
    if not _QUOTED.fullmatch(token):
        return token
    (inner,) = postgast.scan(token[1:-1]).tokens
    return token[1:-1] if inner.keyword_kind == enums.NO_KEYWORD else token


def _limit(statement: Any) -> int | str | None:
    match getattr(statement, "limit_count", None):
        case ast.ParamRef(number=number):
            return f"${number}"
        case ast.A_Const(val=ast.Integer(ival=rows)):
            return int(rows)
    return None
