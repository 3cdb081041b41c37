"""The statements inside of DO."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from postgast import nodes as ast
from postgast import parse_plpgsql
from postgast.errors import PgQueryError

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.lint.findings import Refusal, Sheet, in_quiet
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.trees import statement_sql


def sql_is_hidden(_: Sheet, statement: Statement) -> Iterator[Refusal]:
    """What `EXECUTE` in `DO` runs, where it cannot be read here."""
    if isinstance(statement.node, ast.DoStmt) and not all(map(_is_sql, _inside(statement))):
        reason = "it locks nothing that is in use"
        yield Refusal(
            why="What EXECUTE runs here is not known before, so nobody can say what it locks.",
            recipe=in_quiet(statement, "M14", reason, "SELECT 1;"),
        )


def _is_sql(text: str) -> bool:
    try:
        parse(text)
    except PgQueryError:
        return False
    return True


def _inside(statement: Statement) -> list[str]:
    try:
        return list(_texts(parse_plpgsql(statement_sql(statement.node))))
    except PgQueryError:  # PostgreSQL will say what is wrong with it
        return []


def statements_inside(statement: Statement) -> Iterator[Statement]:
    """The statements of a DO block, and those that EXECUTE runs there, as far as they are known.

    `migrate lint` cannot see into functions that are called.
    """
    if isinstance(statement.node, ast.DoStmt):
        for sql in filter(_is_sql, _inside(statement)):
            yield from (replace(statement, node=each.stmt, sql=sql) for each in parse(sql))


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, list):
        for each in tree:
            yield from _texts(each)
    elif isinstance(tree, dict):
        for key, each in tree.items():
            if key == "PLpgSQL_stmt_dynexecute":
                yield from _executed(each["query"]["PLpgSQL_expr"]["query"])
            elif key == "PLpgSQL_expr" and each.get("parseMode") == 0:
                yield each["query"]
            else:
                yield from _texts(each)


def _executed(expression: str) -> Iterator[str]:
    """The text of an expression; for what `format` puts into it, what is known, or a name."""
    for raw in parse(f"SELECT {expression}"):
        match raw.stmt:
            case ast.SelectStmt(target_list=[ast.ResTarget(val=value)]):
                yield _text(value)


def _text(value: Any) -> str:
    match value:
        case ast.A_Const(val=ast.String(sval=text)):
            return text
        case ast.A_Expr(lexpr=left, rexpr=right, name=[ast.String(sval="||")]):
            return _text(left) + _text(right)
        case ast.FuncCall(args=[ast.A_Const(val=ast.String(sval=text)), *given]):
            return _filled(text, [_text(each) for each in given])
    return "it"


def _filled(text: str, values: list[str]) -> str:
    """What `format` makes of a text."""
    left = iter(values)

    def fill(place: re.Match[str]) -> str:
        value = next(left, "it")
        return f"'{value}'" if place[0].endswith("L") else value

    return _PLACE.sub(fill, text)


_PLACE = re.compile(r"%\d*\$?[IsL]")
