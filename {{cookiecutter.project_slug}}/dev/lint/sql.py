"""Rules D4 and D5: SQL leaves nothing behind, and is written before it is called."""

import ast
import re
from collections.abc import Iterator
from itertools import chain

from acme_orders.chassis.database.session_state import problems

from dev.lint.built import calls_in_scope
from dev.lint.reading import calls, first_argument, last_name, texts, without_values
from dev.lint.source import Found, Source

_DOORS = {"SQL", "execute_sql", "fetch_sql", "sql"}
# At the start of a statement, because the SET of an UPDATE stands inside. In upper case, because
# prose begins with such words too; (?i) is added where a text is known to be SQL.
_STATEMENT = r"""(?:^|;)\s*(?:
    SET\s+(?!(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)(?:["\w.%{}]+\s*(?:=|TO\b)|(?:SESSION|ROLE|TIME)\s)
    | (?:DISCARD|LISTEN|PREPARE|UNLISTEN)\s+["\w*%{]+
    | DECLARE\s.*?\bWITH\s+HOLD\b
    | CREATE\s+(?:OR\s+REPLACE\s+|GLOBAL\s+|LOCAL\s+)*TEMP(?:ORARY)?\s(?!.*\bON\s+COMMIT\s+DROP\b)
    )"""
_LOCKS = {f"pg_{how}advisory_lock{mode}" for how in ("", "try_") for mode in ("", "_shared")}
_FUNCTION = rf"""\b(?:{"|".join(sorted(_LOCKS))})\s*\(
    | \bset_config\s*\((?:[^()]|\([^()]*\))*,\s*false\s*\)"""


def session_state(_: Source, tree: ast.Module) -> Found:
    """A connection goes back to the pool as it is; the next who gets it inherits the state.

    Use SET LOCAL, set_config(…, true), pg_advisory_xact_lock(…) or ON COMMIT DROP.
    """
    whole = {node: problems(sql, filled=filled) for node, sql, filled in _statements(tree)}
    for place, messages in whole.items():
        yield from ((place, message) for message in messages)
    doors = [first_argument(call) for call in calls(tree, _DOORS)]
    functions = ((call, ast.unparse(call)) for call in calls(tree, {*_LOCKS, "set_config"}))
    for node, text in chain(texts(tree), functions):
        if node in whole:
            continue
        statement, sql = ("(?isx)" if node in doors else "(?sx)") + _STATEMENT, without_values(text)
        if found := re.search(statement, sql) or re.search("(?isx)" + _FUNCTION, sql):
            yield node, f"`{' '.join(found[0].strip('; ').split())}` outlives the transaction"


def built_sql(_: Source, tree: ast.Module) -> Found:
    """A value inside the text can end the statement and begin another; a parameter cannot.

    Write %s for each value and hand it over as a parameter; other parts belong into a constant.
    """
    for call, scope in calls_in_scope(tree, _DOORS):
        text = first_argument(call)
        if text is not None and scope.built(text):
            yield text, f"the text for {last_name(call.func)}() is put together from values"


def _statements(tree: ast.Module) -> Iterator[tuple[ast.Constant, str, bool]]:
    """Whole statements that are sent as they are, and whether parameters go with them.

    They are constants in a call, or constants of the module that a call names.
    """
    named = {
        last_name(each.targets[0]): each.value for each in tree.body if isinstance(each, ast.Assign)
    }
    for call in calls(tree, {"execute_sql", "fetch_sql"}):
        text = first_argument(call)
        if isinstance(text, ast.Name):
            text = named.get(text.id)
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield text, text.value, len(call.args) + len(call.keywords) > 1
