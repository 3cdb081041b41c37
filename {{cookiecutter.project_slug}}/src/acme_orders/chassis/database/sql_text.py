"""Reads SQL as the drivers get it, with PostgreSQL's own grammar."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import nodes as ast
from postgast import pg_query_pb2 as enums
from postgast.errors import PgQueryError

QUERIES = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)

_MOST_TOKENS = 5_000  # of deep SQL: with some 8,000 levels protobuf 5 and 6 end the process
_PLACEHOLDER = re.compile(r"%(?:(%)|s|\([^)]+\)s)")
_AMBIGUOUS = (
    "a placeholder stands in quotes or a comment, or beside $1: write %s alone, as in "
    "make_interval(days => %s), and %% for a percent sign"
)
_UNREADABLE = "this SQL cannot be read, so nothing is known about it"


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
        text = numbered(sql) if filled else sql
        if text is None:
            return (_AMBIGUOUS,)
        found = [each for raw in parse(text) for each in judge(raw.stmt)]
    except PgQueryError as error:
        return (f"{_UNREADABLE}: {error}, at index {index_of(error)}",)
    except (UnicodeEncodeError, RecursionError) as error:
        return (f"{_UNREADABLE}: {error}",)
    return tuple(dict.fromkeys(found))


def numbered(sql: str) -> str | None:
    """The SQL with `$1`, `$2`, … for its placeholders; None if it could be read in two ways.

    A driver fills a placeholder in quotes, too, and the value could end the quotes.
    """
    numbers = itertools.count(1)
    text = _PLACEHOLDER.sub(lambda found: found[1] or f"${next(numbers)}", sql)
    parameters = sum(each.token == enums.PARAM for each in postgast.scan(text).tokens)
    return text if parameters == next(numbers) - 1 else None


def parse(sql: str) -> list[ast.RawStmt]:
    """The statements of SQL. Where they and their parts begin is counted in bytes of UTF-8.

    Raises:
        PgQueryError: it cannot be read; see `index_of`.
        RecursionError: it is nested too deeply.
    """
    try:
        tree = postgast.parse(sql)
    except DecodeError:  # protobuf reads 100 messages in one another: 46 operators in a row
        if len(postgast.scan(sql).tokens) > _MOST_TOKENS:
            raise RecursionError("it is nested too deeply") from None
        with _any_depth():
            tree = postgast.parse(sql)
    return [ast.RawStmt(each) for each in tree.stmts]


def index_of(error: PgQueryError) -> int:
    """The character of the SQL that cannot be read; unlike places in a tree, no byte."""
    return max(error.cursorpos - 1, 0)


def descendants(node: Any) -> Iterator[Any]:
    """The node, if it is one, and all nodes under it."""
    if isinstance(node, ast.AstNode):
        yield node
    for child in children(node):
        yield from descendants(child)


def children(node: Any) -> Iterator[Any]:
    """The nodes right under a node, or in a list of nodes."""
    parts = node if isinstance(node, list) else [getattr(node, n) for n in node.__match_args__]
    for part in parts:
        if isinstance(part, ast.AstNode):
            yield part
        elif isinstance(part, list):
            yield from children(part)


def called(node: Any) -> str:
    """The name of the function that a node calls, without its schema; empty if it calls none."""
    match node:
        case ast.FuncCall(funcname=[*_, ast.String(sval=name)]):
            return name
    return ""


@contextmanager
def _any_depth() -> Iterator[None]:
    """Lets protobuf read any depth.

    No longer than needed: the switch is the process's, and a hostile message would end it.
    """
    try:
        from google._upb._message import SetAllowOversizeProtos  # noqa: PLC0415

        SetAllowOversizeProtos(True)
        try:
            yield
        finally:
            SetAllowOversizeProtos(False)
    except (ImportError, DecodeError):  # protobuf in pure Python has no such switch
        raise RecursionError("it is nested too deeply") from None
