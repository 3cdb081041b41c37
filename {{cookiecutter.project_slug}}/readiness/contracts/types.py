"""Types of columns: which change lets those go on who know the old one."""

import re

_ORDERS = (
    ("smallint", "integer", "bigint"),
    ("real", "double precision"),
)
_TEXT = re.compile(r"character varying\((\d+)\)")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_ANY_TEXT = {"text", "character varying"}


def is_wider(old: str, new: str) -> bool:
    """Whether each value of a type is one of another, and is read as the same."""
    if old == new:
        return True
    for order in _ORDERS:
        if old in order and new in order:
            return order.index(old) <= order.index(new)
    if old in _ANY_TEXT or _TEXT.fullmatch(old):
        longest, room = _TEXT.fullmatch(old), _TEXT.fullmatch(new)
        return new in _ANY_TEXT or bool(longest and room and int(longest[1]) <= int(room[1]))
    if before := _NUMERIC.fullmatch(old):
        digits, places = int(before[1]), int(before[2])
        after = _NUMERIC.fullmatch(new)
        if after is None:
            return new == "numeric"
        return int(after[2]) >= places and int(after[1]) - int(after[2]) >= digits - places
    return False
