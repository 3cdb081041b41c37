"""Kinds of values that a message may have: what comes, how it is stored, and what is read again.

Their columns are those of `tests/chassis/integration/kinds.py`.
"""

import base64
import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from hypothesis import strategies as st
from playhouse import postgres_ext as ext
from pydantic import AnyUrl, AwareDatetime, Base64Str, Field, Json, NaiveDatetime, SecretStr

from tests.chassis.integration.kinds import LARGE, OWN, PEEWEE, TEXT, array_of, many
from tests.chassis.integration.kinds import Kind as Column


def same(value: Any) -> Any:
    """As it is."""
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of Pydantic, and the column that a team would choose for it.

    Args:
        type: of the field.
        sent: JSON texts, good ones and bad ones.
        column: its field of Peewee.
        stored: from what was decoded to what is written.
        shown: from what is read to what can be compared with that.
    """

    type: Any
    sent: st.SearchStrategy[str]
    column: Column
    stored: Callable[[Any], Any] = same
    shown: Callable[[Any], Any] = same


class Colour(enum.Enum):
    """One of two."""

    RED = "red"
    BLUE = "blue"


def _number(value: Any) -> Any:
    """JSON has one kind of numbers: 10**23 and 1e23 are the same."""
    match value:
        case bool():
            return value
        case int() | float():
            return float(value)
        case list():
            return list(map(_number, value))
        case dict():
            return {key: _number(inner) for key, inner in value.items()}
    return value


def _json(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return values.map(json.dumps)


_TEXTS = st.text(st.characters(exclude_categories=()))  # NUL and surrogates, too
_NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-(10**12), 10**12).map(str),
    _json(st.floats()),
    st.sampled_from(("1e999", "-1e999", "1e5", "-0.0", "5e-324", "9" * 400, "1" * 5000)),
)
_OFFSETS = st.one_of(
    st.sampled_from(("", "Z", "z", "+00:00", "-00:00", "+15:59", "-15:59", "+16:00", "-23:59")),
    st.builds(
        "{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 24), st.integers(0, 60)
    ),
)
_DATES = st.one_of(
    st.dates().map(str), st.sampled_from(("0001-01-01", "9999-12-31", "0000-01-01", "2026-02-30"))
)
_CLOCK = st.one_of(
    st.times().map(str), st.sampled_from(("00:00", "23:59:59.999999", "24:00:00", "23:59:60"))
)
_MOMENTS = st.one_of(
    _NUMBERS, _json(st.builds("{}{}{}{}".format, _DATES, st.sampled_from("T t_"), _CLOCK, _OFFSETS))
)
_SPANS = st.one_of(
    _NUMBERS,
    _json(
        st.builds(
            "{}P{}DT{}H{}M{}S".format,
            st.sampled_from(("", "-")),
            *(st.integers(0, 10**most) for most in (10, 5, 3, 3)),
        )
    ),
    _json(st.timedeltas().map(lambda each: each.total_seconds())),
)
_DECIMALS = st.one_of(
    _NUMBERS,
    _json(st.decimals().map(str)),
    _json(st.builds("{}E{}".format, st.integers(-9, 9), st.integers(-140_000, 140_000))),
    _json(st.sampled_from(("sNaN", "-Infinity", "1E+131071", "1E-16383", "-0", "0E-20000", "1_0"))),
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)
_SHORT = Column(partial(peewee.CharField, max_length=5), TEXT)
_MANY_NUMBERS = Column(array_of(peewee.BigIntegerField), many(LARGE))
_INNER: Any = Json  # for mypy it is not a class

KINDS: Mapping[str, Kind] = {
    "text": Kind(str, _json(_TEXTS), PEEWEE[peewee.TextField]),
    "short text": Kind(Annotated[str, Field(max_length=5)], _json(_TEXTS), _SHORT),
    "number": Kind(int, _NUMBERS | _json(_NUMBERS), PEEWEE[peewee.BigIntegerField]),
    "small number": Kind(
        Annotated[int, Field(ge=0, lt=100)], _NUMBERS, PEEWEE[peewee.SmallIntegerField]
    ),
    "fraction": Kind(float, _NUMBERS | _json(_NUMBERS), PEEWEE[peewee.DoubleField]),
    "decimal": Kind(Decimal, _DECIMALS, OWN["number of many digits"]),
    "truth": Kind(bool, _NUMBERS | _json(st.booleans()), PEEWEE[peewee.BooleanField]),
    "moment": Kind(AwareDatetime, _MOMENTS, PEEWEE[ext.DateTimeTZField]),
    "local moment": Kind(NaiveDatetime, _MOMENTS, PEEWEE[peewee.DateTimeField]),
    "day": Kind(date, _NUMBERS | _json(_DATES), PEEWEE[peewee.DateField]),
    "time": Kind(
        time, _NUMBERS | _json(st.builds(str.__add__, _CLOCK, _OFFSETS)), PEEWEE[peewee.TimeField]
    ),
    "span": Kind(timedelta, _SPANS, PEEWEE[ext.IntervalField]),
    "id": Kind(UUID, _json(st.uuids().map(str) | _TEXTS), PEEWEE[peewee.UUIDField]),
    "bytes": Kind(bytes, _json(_TEXTS), PEEWEE[peewee.BlobField], same, bytes),
    "colour": Kind(
        Colour, _json(st.sampled_from(("red", "blue", "x"))), PEEWEE[peewee.TextField],
        lambda each: each.value,
    ),
    "choice": Kind(
        Literal["a", 1], _json(st.sampled_from(("a", 1, "x"))), PEEWEE[peewee.TextField], str
    ),
    "address": Kind(
        IPv4Address | IPv6Address,
        _json(st.ip_addresses().map(str)) | _NUMBERS, PEEWEE[peewee.TextField], str,
    ),
    "link": Kind(
        AnyUrl, _json(st.builds("http://a{}/{}".format, _TEXTS, _TEXTS)), PEEWEE[peewee.TextField],
        str,
    ),
    "secret": Kind(
        SecretStr, _json(_TEXTS), PEEWEE[peewee.TextField], lambda each: each.get_secret_value()
    ),
    "encoded": Kind(
        Base64Str,
        _json(st.binary().map(lambda each: base64.b64encode(each).decode())),
        PEEWEE[peewee.TextField],
    ),
    "anything": Kind(Any, _json(_ANYTHING), PEEWEE[ext.BinaryJSONField]),
    "document": Kind(dict[str, Any], _json(_ANYTHING), PEEWEE[ext.BinaryJSONField]),
    "inner document": Kind(_INNER[Any], _json(_json(_ANYTHING)), PEEWEE[ext.BinaryJSONField]),
    "texts": Kind(list[str], _json(st.lists(_TEXTS)), OWN["texts"]),
    "numbers": Kind(
        set[int], _json(st.lists(st.integers(-(2**65), 2**65))), _MANY_NUMBERS, sorted,
    ),
    "numbers by name": Kind(
        dict[str, int], _json(st.dictionaries(_TEXTS, st.integers(-(2**65), 2**65))),
        PEEWEE[ext.BinaryJSONField],
    ),
    "fractions by number": Kind(
        dict[int, float], _json(st.dictionaries(st.integers(-(2**65), 2**65), st.floats())),
        PEEWEE[ext.BinaryJSONField], lambda each: {str(key): value for key, value in each.items()},
    ),
    "either": Kind(
        int | str | None, _NUMBERS | _json(_TEXTS), PEEWEE[peewee.TextField],
        lambda each: None if each is None else str(each),
    ),
}  # fmt: skip


def comparable(kind: Kind, value: Any) -> Any:
    """What two values have in common that are the same in the column."""
    shown = kind.shown(value)
    return _number(shown) if kind.column is PEEWEE[ext.BinaryJSONField] else shown
