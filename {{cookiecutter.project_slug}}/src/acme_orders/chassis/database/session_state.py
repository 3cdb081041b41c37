"""Finds SQL that leaves something on its connection, which will serve somebody else.

Functions and procedures are not looked into, and neither are texts that they run.
"""

from collections.abc import Iterator
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import (
    QUERIES,
    called,
    check,
    descendants,
)

# What is over with its transaction, or changes rows and nothing else.
_HARMLESS = (
    *QUERIES,
    ast.CallStmt,
    ast.ClosePortalStmt,
    ast.ConstraintsSetStmt,
    ast.DeclareCursorStmt,
    ast.FetchStmt,
    ast.LockStmt,
    ast.NotifyStmt,
    ast.RefreshMatViewStmt,
    ast.TruncateStmt,
    ast.VariableShowStmt,
)
_STATE = (
    ast.DeallocateStmt,
    ast.DiscardStmt,
    ast.ExecuteStmt,
    ast.ListenStmt,
    ast.LoadStmt,
    ast.PrepareStmt,
    ast.UnlistenStmt,
)
_FUNCTIONS = {
    *(f"pg_{how}advisory_lock{mode}" for how in ("", "try_") for mode in ("", "_shared")),
    *("dblink_connect", "dblink_connect_u", "set_limit", "setseed"),
}
_HOLD = 0x20  # CURSOR_OPT_HOLD, which the parser has only as a number
_OF_THE_TRANSACTION = {"TRANSACTION", "TRANSACTION SNAPSHOT"}
_TRUE = {"t", "true", "y", "yes", "on", "1"}
# With another value of these, later texts would not mean what was read here.
_READING = {"client_encoding", "standard_conforming_strings"}
_USE = "use SET LOCAL, set_config(…, true) or pg_advisory_xact_lock"
_CREATE = "it belongs in a migration; a temporary table needs ON COMMIT DROP"


def problems(sql: str, *, filled: bool) -> tuple[str, ...]:
    """What is wrong with SQL text.

    Args:
        sql: one or more statements.
        filled: whether parameters go with it; see `check`.
    """
    return check(sql, judge, filled=filled)


def judge(statement: Any) -> Iterator[str]:
    """What is wrong with one statement."""
    if isinstance(statement, ast.ExplainStmt):
        yield from judge(statement.query)
        return
    yield from _kind_of(statement)
    for node in descendants(statement):
        match node:
            case ast.DeclareCursorStmt(options=options) if options & _HOLD:
                yield _outlives("WITH HOLD")
            case ast.IntoClause() if isinstance(statement, ast.SelectStmt):
                yield f"SELECT INTO makes a table: {_CREATE}"
            case ast.FuncCall():
                yield from _call(node)


def _kind_of(statement: Any) -> Iterator[str]:
    name = type(statement).__name__.removesuffix("Stmt").upper()
    if isinstance(statement, ast.TransactionStmt):
        yield "it begins or ends a transaction: use manager.transaction(…) or manager.savepoint()"
    elif isinstance(statement, ast.VariableSetStmt):
        yield from _setting(statement)
    elif isinstance(statement, _STATE):
        yield _outlives(name)
    elif not isinstance(statement, _HARMLESS) and not _ends_with_the_transaction(statement):
        yield f"{name} neither reads nor writes rows: {_CREATE}"


def _setting(statement: Any) -> Iterator[str]:
    reset = statement.kind in (enums.VAR_RESET, enums.VAR_RESET_ALL)
    what = f"{'RESET' if reset else 'SET'} {statement.name or 'ALL'}"
    if not statement.is_local and statement.name not in _OF_THE_TRANSACTION:
        yield _outlives(what)
    elif (statement.name or "").lower() in _READING:
        yield f"{what} changes how SQL is read: leave it as it is"


def _call(node: Any) -> Iterator[str]:
    name = called(node)
    if name in _FUNCTIONS:
        yield _outlives(f"{name}()")
    elif name == "set_config":
        given = dict(zip(("setting_name", "new_value", "is_local"), node.args, strict=False))
        given |= {each.name: each.arg for each in node.args if _is_named(each)}
        if _constant(given.get("is_local")).lower() not in _TRUE:
            yield _outlives("set_config(…) whose third argument is not written as true")
        if _constant(given.get("setting_name")).lower() in _READING:
            yield "set_config(…) changes how SQL is read: leave it as it is"


def _constant(value: Any) -> str:
    """What a value is in every row; empty if it is no constant."""
    match value:
        case ast.TypeCast():
            return _constant(value.arg)
        case ast.A_Const(val=ast.String(sval=text)):
            return str(text)
        case ast.A_Const(val=ast.Boolean(boolval=truth)):
            return str(truth)
    return ""


def _is_named(argument: Any) -> bool:
    return isinstance(argument, ast.NamedArgExpr)


def _ends_with_the_transaction(statement: Any) -> bool:
    """Whether it makes a temporary table that COMMIT drops."""
    match statement:
        case ast.CreateStmt(oncommit=enums.ONCOMMIT_DROP):
            return True
        case ast.CreateTableAsStmt(into=ast.IntoClause(on_commit=enums.ONCOMMIT_DROP)):
            return True
    return False


def _outlives(what: str) -> str:
    return f"{what} outlives the transaction, and the next user of the connection gets it: {_USE}"
