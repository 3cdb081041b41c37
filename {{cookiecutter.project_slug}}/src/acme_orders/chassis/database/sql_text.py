"""Reads SQL as the drivers get it, with PostgreSQL's own grammar."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pglast import ast
from pglast.parser import ParseError, parse_sql, scan

QUERIES = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)

_PLACEHOLDER = re.compile(r"%(?:(%)|s|\([^)]+\)s)")
_AMBIGUOUS = (
    "a placeholder stands in quotes or a comment, or beside $1: write %s alone, as in "
    "make_interval(days => %s), and %% for a percent sign"
)


def check(
    sql: str, judge: Callable[[Any], Iterable[str]], *, filled: bool = True
) -> tuple[str, ...]:
    """What is wrong with SQL text; what cannot be read is wrong.

    Args:
        sql: one or more statements.
        judge: says what is wrong with one.
        filled: whether parameters go with it. Then `%s` and `%(name)s` stand for them, and `%%` for
            a percent sign; without them each percent sign is one.
    """
    if "\0" in sql:
        return ("a NUL character hides from the parser what follows it: leave it out",)
    try:
        text = _with_numbers(sql) if filled else sql
        if text is None:
            return (_AMBIGUOUS,)
        found = [each for raw in parse_sql(text) for each in judge(raw.stmt)]
    except (ParseError, UnicodeEncodeError, RecursionError) as error:
        return (f"this SQL cannot be read, so nothing is known about it: {error}",)
    return tuple(dict.fromkeys(found))


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


def called(node: Any) -> str:
    """The name of the function that a node calls, without its schema; empty if it calls none."""
    match node:
        case ast.FuncCall(funcname=(*_, ast.String(sval=name))):
            return str(name)
    return ""


def _with_numbers(sql: str) -> str | None:
    """The SQL with `$1`, `$2`, … for its placeholders; None if it could be read in two ways.

    A driver fills a placeholder in quotes, too, and the value could end the quotes.
    """
    numbers = itertools.count(1)
    text = _PLACEHOLDER.sub(lambda found: found[1] or f"${next(numbers)}", sql)
    parameters = sum(token.name == "PARAM" for token in scan(text))
    return text if parameters == next(numbers) - 1 else None
