"""What PostgreSQL does to a table whose column gets another type, and which values do not fit."""

import re
from enum import Enum
from math import inf
from typing import NamedTuple

_ALIASES = {
    "int2": "smallint",
    "int4": "int",
    "integer": "int",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "decimal": "numeric",
    "bool": "boolean",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "character varying": "varchar",
    "character": "char",
    "bit varying": "varbit",
}
_TIMES = {"timestamptz", "timestamp", "time", "timetz", "interval"}
_FRACTION = 6  # digits of a second, of a time that does not say how many it has
_TEXTS, _BITS = {"text", "varchar", "char"}, {"bit", "varbit"}
_FLOATS = ["real", "double precision"]
# Of the largest value, and those that fit whatever they are.
_DIGITS = {"smallint": (5, 4), "int": (10, 9), "bigint": (19, 18)}
_WRITTEN = re.compile(r"(?P<before>[^(]*)(?:\((?P<sizes>[^)]*)\))?(?P<after>.*)")


class Anew(Enum):
    """What is written anew while nobody can even read the table."""

    NOTHING = "nothing"
    INDEXES = "the indexes of the column"
    TABLE = "each row"


class _Type(NamedTuple):
    name: str
    sizes: tuple[int, ...]

    @property
    def limit(self) -> float:
        """How many characters or bits a value has at most."""
        return self.sizes[0] if self.sizes else 1 if self.name in {"char", "bit"} else inf

    @property
    def fraction(self) -> int:
        return self.sizes[0] if self.sizes else _FRACTION

    def digits(self, *, written: bool) -> tuple[float, float]:
        """Of a number, before and behind the point: of those written, or of those that fit."""
        if self.name in _DIGITS:
            return _DIGITS[self.name][0 if written else 1], 0
        if not self.sizes:
            return inf, inf
        scale = self.sizes[1] if len(self.sizes) > 1 else 0
        return self.sizes[0] - scale, scale


def anew(old: str, new: str) -> Anew:
    """What a change of a column's type, as SQL says it, writes anew.

    Where the session's TimeZone is UTC, as it is in those of migrations.
    """
    one, other = _read(old), _read(new)
    # The same bytes mean the same, but in another order or to other operators.
    if {one.name, other.name} == {"timestamp", "timestamptz"} and other.fraction == _FRACTION:
        return Anew.INDEXES
    if (one.name, other.name) == ("bit", "varbit") and not other.sizes:
        return Anew.INDEXES
    return Anew.NOTHING if _is_kept(one, other) else Anew.TABLE


def _is_kept(one: _Type, other: _Type) -> bool:
    if one == other:
        return True
    if {one.name, other.name} <= {"text", "varchar"}:
        return other.limit == inf or (one.name == "varchar" and one.limit <= other.limit)
    if one.name != other.name:
        return (one.name, other.name) == ("cidr", "inet")
    if one.name == "numeric":
        (before, scale), (more, same) = one.digits(written=True), other.digits(written=True)
        return not other.sizes or (scale == same and before <= more)
    if one.name in _TIMES:
        return one.fraction <= other.fraction
    return one.name == "varbit" and one.limit <= other.limit


def is_narrower(old: str, new: str) -> bool:
    """Whether some texts, bits or numbers of one type are no values of the other."""
    one, other = _read(old), _read(new)
    names = {one.name, other.name}
    if names <= _TEXTS:
        return one.limit > other.limit
    if names <= _BITS:
        return one != other if other.name == "bit" else one.limit > other.limit
    if names <= set(_FLOATS):
        return _FLOATS.index(one.name) > _FLOATS.index(other.name)
    if names <= set(_DIGITS):
        return one.digits(written=True) > other.digits(written=True)
    if names <= {*_DIGITS, "numeric"}:
        sizes = zip(one.digits(written=True), other.digits(written=False), strict=True)
        return any(has > fits for has, fits in sizes)
    return False


def _read(type_: str) -> _Type:
    found = _WRITTEN.fullmatch(type_)
    if found is None:
        return _Type(type_, ())
    name = " ".join(f"{found['before']} {found['after']}".split())
    sizes = [each.strip() for each in (found["sizes"] or "").split(",") if each.strip()]
    return _Type(_ALIASES.get(name, name), tuple(int(each) for each in sizes))
