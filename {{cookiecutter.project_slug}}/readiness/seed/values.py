"""Values of their own for the columns of made-up rows, within what the checks allow."""

import random
import re
from collections.abc import Sequence
from typing import Any

import rstr

from readiness.seed.shape import Column

ROW = "number_of_row"  # in the SQL of made-up rows
_POOL = 400  # different values of a column that has a pool of them
_WORDS = ("tea", "Grün", "red line", "x", "North-East 7", "o'clock", "100 %", "日本", "😀", "a\\b")
_LITERAL = re.compile(r"(~\*? )?'((?:[^']|'')*)'::")
_EDGES = {
    "smallint": ("0", "1", "-1", "32767", "-32768"),
    "integer": ("0", "1", "-1", "2147483647", "-2147483648"),
    "bigint": ("0", "1", "-1", "9223372036854775807", "-9223372036854775808"),
    "double precision": ("0", "-0.5", "1e-300", "1e300"),
}
_WHOLE = ("smallint", "integer", "bigint", "oid", "money")
_MOMENTS = "ARRAY['0001-01-01 00:00:00', '1970-01-01 00:00:00', '9999-12-30 23:59:59']"


def chance(what: str) -> str:
    """SQL for a number from 0 to 1 that depends on the row, on `what` and on the seed."""
    text = f"%(salt)s || '{what.replace(chr(39), chr(39) * 2)} ' || {ROW}"
    return f"(hashtextextended({text}, 0) & 4294967295) / 4294967296.0"


def value_of(  # noqa: PLR0911  # one for each kind of value
    cursor: Any, table: str, column: Column, checks: Sequence[str], seed: str
) -> str | list[str]:
    """SQL for the value of a column in a row, or a pool of values to draw from.

    It is that of the row `model` where nothing better is known.

    Args:
        cursor: to ask which values the checks allow.
        table: as SQL names it.
        column: of it.
        checks: conditions on this column alone.
        seed: of what is drawn by lot here.
    """
    name, lot = quoted(column.name), chance(column.name)
    kind = re.sub(r"\(.*", "", column.type)
    match column.category, kind:
        case _, "uuid" if column.unique:
            return f"md5(%(salt)s || {ROW})::uuid"
        case "N", _ if column.unique:
            return f"(SELECT coalesce(max({name}), 0) FROM {table}) + {ROW}"
        case "S", _ if column.unique and not _LITERAL.search(" ".join(checks)):
            return f"left(md5(%(salt)s || {ROW}), {_length(column)})"
        case "D", _:
            usual = f"timestamp '2026-07-01' - {lot} * interval '730 days'"
            edge = f"({_MOMENTS})[1 + floor({lot} * 300)::int]::timestamp"
            return f"CASE WHEN {lot} < 0.01 THEN {edge} ELSE {usual} END"
        case "B", _:
            return f"{lot} < 0.2"
        case "E", _:
            labels = f"enum_range(NULL::{column.type})"
            return f"({labels})[1 + floor({lot} * cardinality({labels}))::int]"
        case "S" | "N", _:
            lots = random.Random(f"{seed} {name}")  # noqa: S311  # made-up rows are no secret
            some = offered(column, checks, lots, 20 * _POOL if column.unique else _POOL)
            return allowed(cursor, column, checks, some) or f"model.{name}"
        case _:
            return f"model.{name}"


def _length(column: Column) -> int:
    found = re.search(r"\((\d+)\)", column.type)
    return min(int(found[1]), 24) if found else 24


def _digits(column: Column) -> int:
    """Of the largest numbers, before the point; a number with more would not fit."""
    if column.type == "smallint":
        return 4
    found = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", column.type)
    return min(int(found[1]) - int(found[2]), 6) if found else 6


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def offered(column: Column, checks: Sequence[str], lots: random.Random, wanted: int) -> list[str]:
    """Values that the checks may allow: what they name, what they match, and what is usual."""
    found = [
        (bool(like), text.replace("''", "'")) for like, text in _LITERAL.findall(" ".join(checks))
    ]
    values = [text for like, text in found if not like]
    expressions = [text for like, text in found if like]
    if column.category == "N":
        digits = _digits(column)
        edges = _EDGES.get(column.type, ("0", "1", "-1", "0.5") if digits else ("0",))
        some = [str(lots.randrange(10 ** lots.randint(0, digits))) for _ in range(wanted)]
        if column.type not in _WHOLE:
            some = [f"{each}.{lots.randrange(100)}" for each in some]
        return [*values, *edges, *some]
    for each in expressions:
        values += [rstr.Rstr(lots).xeger(each) for _ in range(wanted // len(expressions))]
    words = [f"{lots.choice(_WORDS)} {lots.randrange(wanted)}" for _ in range(wanted)]
    return [*dict.fromkeys([*values, *_WORDS, "", *words])]


def allowed(
    cursor: Any, column: Column, checks: Sequence[str], offered: Sequence[str]
) -> list[str]:
    """Those of the values offered that the checks allow."""
    condition = (
        " AND ".join(f"({each.replace('%', '%%')}) IS NOT FALSE" for each in checks) or "true"
    )
    name = quoted(column.name)
    cursor.execute(
        f"SELECT offered FROM (SELECT offered, offered::{column.type} AS {name}"
        f" FROM unnest(%s::text[]) WITH ORDINALITY AS o(offered, n) ORDER BY n) AS row"
        f" WHERE {condition}",
        (list(offered),),
    )
    return [text for (text,) in cursor.fetchall()]
