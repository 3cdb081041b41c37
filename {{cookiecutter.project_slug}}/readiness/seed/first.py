"""A row for a table that has none."""

import random
from typing import Any

from acme_orders.chassis.database import driver

from readiness.seed.shape import Column, Shape
from readiness.seed.values import allowed, offered, quoted

_FEW = 3  # values of a column that a check compares with others; all their combinations are tried
# What one of the other types accepts: an array, a document, an address, a point, a range, …
_ANYTHING = (
    *("{}", "", "0", "1 hour", "empty", "127.0.0.1", "(0,0)", "2026-07-01", "<a/>", "a", "08:00"),
    *("08:00:2b:01:02:03", "((0,0),(1,1))", "00000000-0000-4000-8000-000000000000", "{0}"),
)


def first(cursor: Any, shape: Shape) -> None:
    """Make one row that the keys and checks allow; none if there is no such row among those tried.

    Args:
        cursor: that commits each statement by itself.
        shape: of the table.
    """
    together = {name for _, names in shape.checks if len(names) > 1 for name in names}
    values = {
        column.name: _values(cursor, column, shape)[: _FEW if column.name in together else 1]
        for column in shape.columns
    }
    if not values or not all(values.values()):
        return
    names = ", ".join(map(quoted, values))
    tried = " CROSS JOIN ".join(
        f"(VALUES {', '.join(f'({each})' for each in some)}) AS v{number}({quoted(name)})"
        for number, (name, some) in enumerate(values.items())
    )
    conditions = " AND ".join(f"({check}) IS NOT FALSE" for check, _ in shape.checks) or "true"
    cursor.execute(
        f"INSERT INTO {shape.table} ({names}) SELECT {names} FROM {tried} WHERE {conditions} "
        "LIMIT 1 ON CONFLICT DO NOTHING"
    )


def _values(cursor: Any, column: Column, shape: Shape) -> list[str]:
    """SQL for values to try, the likeliest first."""
    nothing = [f"NULL::{column.type}"] if column.nullable else []
    for parent in shape.parents:
        if column.name in parent.columns:
            key = quoted(parent.columns[column.name])
            order = ", ".join(map(quoted, parent.columns.values()))  # the same row for each of them
            one = f"(SELECT {key} FROM {parent.table} ORDER BY {order} LIMIT 1)"
            cursor.execute(one)
            return [one] if cursor.fetchall() else nothing
    usual = [f"({column.default})::{column.type}"] if column.default else []
    match column.category:
        case "D":
            made = ["'2026-07-01 12:00:00'"]
        case "B":
            made = ["false", "true"]
        case "E":
            labels = f"enum_range(NULL::{column.type})"
            made = [f"({labels})[1]", f"({labels})[cardinality({labels})]"]
        case "S" | "N":
            own = [check for check, names in shape.checks if list(names) == [column.name]]
            some = offered(column, own, random.Random(column.name), _FEW)  # noqa: S311
            made = [_literal(each) for each in allowed(cursor, column, own, some)]
        case _:
            made = [_literal(each) for each in _ANYTHING if _accepts(cursor, column, each)]
    return [*usual, *(f"({each})::{column.type}" for each in made[:_FEW]), *nothing]


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _accepts(cursor: Any, column: Column, text: str) -> bool:
    try:
        cursor.execute(f"SELECT %s::{column.type}", (text,))
    except driver.DriverError:
        return False
    return True
