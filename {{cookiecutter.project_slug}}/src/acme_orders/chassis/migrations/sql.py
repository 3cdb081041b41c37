"""Reads the SQL of a migration, and refuses what would make its history untrue."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postgast import nodes as ast
from postgast.errors import PgQueryError

from acme_orders.chassis.database.sql_text import index_of, parse
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import text_of

_LONGEST = 60  # characters of a statement in a message
_TRANSACTION = (
    "a file is one transaction, and its line of history is part of that: leave it out; what has to "
    "be committed by itself belongs in a migration of its own"
)
_COPY = (
    "its rows travel outside of SQL, as psql and the dumps of pg_dump have them: write INSERT, and "
    "only what changes"
)
_PSQL = "this is a command of psql, as in the dumps of pg_dump, and no SQL: leave it out"


@dataclass(frozen=True)
class Statement:
    """One of a file.

    Attributes:
        sql: its text.
        node: what the parser made of it.
        begin: the character of the file that it begins with.
        line: of the file, that it begins in.
    """

    sql: str
    node: Any
    begin: int
    line: int

    @property
    def shown(self) -> str:
        """Its beginning, for messages."""
        return _shown(self.sql)


def statements_of(file: Path) -> tuple[str, list[Statement]]:
    """The text of a file and its statements.

    Raises:
        ConfigurationError: not all of it would run, or it ends its transaction; names the line, the
            statement and what helps.
    """
    sql = text_of(file)
    if "\0" in sql:
        raise refused(file, sql, sql.index("\0"), "what follows a NUL would not run: leave it out")
    try:
        parsed = parse(sql)
    except PgQueryError as error:
        raise _unreadable(file, sql, error.message, index_of(error)) from None
    except RecursionError:
        raise ConfigurationError(f"{file}: its SQL is nested too deeply to be read") from None
    for each in parsed:
        if problem := _problem(each.stmt):
            raise refused(file, sql, _begin_of(each, sql), problem)
    return sql, [_statement(each, sql) for each in parsed]


def _problem(statement: Any) -> str | None:
    match statement:
        case ast.TransactionStmt():
            return _TRANSACTION
        case ast.CopyStmt(filename=""):
            return _COPY
    return None


def _unreadable(file: Path, sql: str, reason: str, where: int) -> ConfigurationError:
    if sql[where : where + 1] == "\\":
        return refused(file, sql, where, _PSQL)
    # Behind COPY … FROM stdin come rows, which are no SQL: they are not what is wrong.
    end = sql.rfind(";", 0, where)
    try:
        *_, last = parse(sql[: end + 1])
    except (PgQueryError, RecursionError, ValueError):
        pass
    else:
        if problem := _problem(last.stmt):
            return refused(file, sql, _begin_of(last, sql), problem)
    return refused(file, sql, where, f"{reason}; correct it")


def refused(file: Path, sql: str, where: int, problem: str) -> ConfigurationError:
    """The error that names a file, the line and the statement at a character of it."""
    place = f"{file}:{sql.count(chr(10), 0, where) + 1}"
    return ConfigurationError(f"{place}: `{_shown(sql[where:])}`: {problem}")


def _statement(parsed: ast.RawStmt, sql: str) -> Statement:
    begin, length = _begin_of(parsed, sql), parsed.stmt_len
    encoded = sql.encode()[parsed.stmt_location :]
    text = (encoded[:length] if length else encoded).decode()
    return Statement(text, parsed.stmt, begin, sql.count("\n", 0, begin) + 1)


def _begin_of(statement: ast.RawStmt, sql: str) -> int:
    return len(sql.encode()[: statement.stmt_location].decode())


def _shown(sql: str) -> str:
    statement = " ".join(sql.partition(";")[0].partition("\0")[0].split())
    return statement if len(statement) <= _LONGEST else f"{statement[:_LONGEST]}…"
