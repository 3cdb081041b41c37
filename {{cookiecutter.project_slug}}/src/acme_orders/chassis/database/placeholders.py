# feature: row, rls
"""Which placeholders of a text those of its shape stand for."""

import re
from collections.abc import Sequence

from acme_orders.chassis.database.sql_shape import REPEATED

_PERCENT = re.compile(r"%[%s]")


def numbers(sql: str) -> list[Sequence[int]]:
    """For each placeholder of the shape those of the text that it stands for, from 0."""
    found: list[Sequence[int]] = []
    at = count = 0
    for repeated in REPEATED.finditer(sql):
        before, inside = _placeholders(sql[at : repeated.start()]), _placeholders(repeated[0])
        row = _placeholders(repeated[2] or "%s")
        first, at = count + before, repeated.end()
        found += [(each,) for each in range(count, first)]
        count = first + inside
        found += [range(each, count, row) for each in range(first, first + row)]
    return [*found, *((each,) for each in range(count, count + _placeholders(sql[at:])))]


def _placeholders(sql: str) -> int:
    return _PERCENT.findall(sql).count("%s")
