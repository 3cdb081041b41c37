"""A file of a migration, statement by statement, and how it has to be run.

Most statements share one transaction. Some cannot, or would hold their locks for hours in it: such
a file is run statement by statement, each committed by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postgast import nodes as ast

from acme_orders.chassis.migrations.kinds import is_alone, is_neutral, validates
from acme_orders.chassis.migrations.sql import Statement, refused, statements_of

_SPLIT = (
    "this runs in one transaction with its neighbours, and `{other}` in line {line} only outside "
    "of one: split the file, each kind in a migration of its own"
)
_SPLIT_COMMANDS = (
    "VALIDATE CONSTRAINT reads the whole table, under the lock of what stands beside it: write it "
    "in a migration of its own"
)
_NAMELESS = "name the index: without a name, a second try would make a second index"
_LOCAL = "SET LOCAL ends with its own statement here: write SET"


@dataclass(frozen=True)
class Script:
    """What is sent for a file.

    Attributes:
        file: that it was read from.
        sql: all of it; empty if there is no statement.
        statements: in order.
        alone: each statement is committed by itself; otherwise all are in one transaction.
    """

    file: Path
    sql: str
    statements: Sequence[Statement]
    alone: bool


def script_of(file: Path) -> Script:
    """Read a file and find out how it has to be run.

    Raises:
        ConfigurationError: not all of it would run, or not in one way; names the line, the
            statement and what helps.
    """
    sql, statements = statements_of(file)
    alone = [each for each in statements if is_alone(each.node)]
    for each in statements if alone else ():
        if problem := _problem(each, alone[0]):
            raise refused(file, sql, each.begin, problem)
    for each in alone:
        if validates(each.node) and len(each.node.cmds) > 1:
            raise refused(file, sql, each.begin, _SPLIT_COMMANDS)
    return Script(file, sql if statements else "", statements, bool(alone))


def _problem(statement: Statement, alone: Statement) -> str | None:
    match statement.node:
        case ast.VariableSetStmt(is_local=True):
            return _LOCAL
        case ast.IndexStmt(concurrent=True, idxname=""):
            return _NAMELESS
    if is_alone(statement.node) or is_neutral(statement.node):
        return None
    return _SPLIT.format(other=alone.shown, line=alone.line)
