"""The statements inside of DO."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from postgast import nodes as ast
from postgast import parse_plpgsql
from postgast.errors import PgQueryError

from acme_orders.chassis.database.sql_text import descendants, parse
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.trees import statement_sql


def statements_inside(statement: Statement) -> Iterator[Statement]:
    """The statements of a DO block, and those that EXECUTE runs there, as far as they are known.

    What cannot be read is not known; `migrate lint` cannot see into functions that are called.
    """
    if isinstance(statement.node, ast.DoStmt):
        try:
            tree = parse_plpgsql(statement_sql(statement.node))
        except PgQueryError:
            return
        for sql in _texts(tree):
            try:
                parsed = parse(sql)
            except PgQueryError:
                continue
            yield from (replace(statement, node=each.stmt, sql=sql) for each in parsed)


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
    """The texts of an expression; for what `format` puts into one, what is known, or a name."""
    for raw in parse(f"SELECT {expression}"):
        for each in descendants(raw.stmt):
            match each:
                case ast.FuncCall(args=[ast.A_Const(val=ast.String(sval=text)), *given]):
                    values = [getattr(getattr(arg, "val", None), "sval", "it") for arg in given]
                    yield _filled(text, values)
                case ast.A_Const(val=ast.String(sval=text)):
                    yield text


def _filled(text: str, values: list[str]) -> str:
    """What `format` makes of a text."""
    left = iter(values)

    def fill(place: re.Match[str]) -> str:
        value = next(left, "it")
        return f"'{value}'" if place[0].endswith("L") else value

    return _PLACE.sub(fill, text)


_PLACE = re.compile(r"%\d*\$?[IsL]")
