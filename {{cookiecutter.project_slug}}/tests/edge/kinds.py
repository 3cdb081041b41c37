"""Kinds of values that a message may have: what comes, how it is stored, and what is read again."""

import base64
import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from hypothesis import strategies as st
from playhouse import postgres_ext as ext
from pydantic import AnyUrl, AwareDatetime, Base64Str, Field, Json, NaiveDatetime, SecretStr


def same(value: Any) -> Any:
    """As it is."""
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of Pydantic, and the column that a team would choose for it.

    Args:
        type: of the field.
        sent: JSON texts, good ones and bad ones.
        column: its type in PostgreSQL.
        field: of Peewee.
        stored: from what was decoded to what is written.
        shown: from what is read to what can be compared with that.
    """

    type: Any
    sent: st.SearchStrategy[str]
    column: str
    field: Callable[..., peewee.Field]
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
_BINARY_JSON = ext.BinaryJSONField
_INNER: Any = Json  # for mypy it is not a class

KINDS: Mapping[str, Kind] = {
    "text": Kind(str, _json(_TEXTS), "text", peewee.TextField),
    "short text": Kind(
        Annotated[str, Field(max_length=5)], _json(_TEXTS), "varchar(5)", peewee.TextField
    ),
    "number": Kind(int, _NUMBERS | _json(_NUMBERS), "bigint", peewee.BigIntegerField),
    "small number": Kind(
        Annotated[int, Field(ge=0, lt=100)], _NUMBERS, "smallint", peewee.SmallIntegerField
    ),
    "fraction": Kind(float, _NUMBERS | _json(_NUMBERS), "float8", peewee.DoubleField),
    "decimal": Kind(Decimal, _DECIMALS, "numeric", peewee.DecimalField),
    "truth": Kind(bool, _NUMBERS | _json(st.booleans()), "boolean", peewee.BooleanField),
    "moment": Kind(AwareDatetime, _MOMENTS, "timestamptz", ext.DateTimeTZField),
    "local moment": Kind(NaiveDatetime, _MOMENTS, "timestamp", peewee.DateTimeField),
    "day": Kind(date, _NUMBERS | _json(_DATES), "date", peewee.DateField),
    "time": Kind(
        time, _NUMBERS | _json(st.builds(str.__add__, _CLOCK, _OFFSETS)), "time", peewee.TimeField
    ),
    "span": Kind(timedelta, _SPANS, "interval", ext.IntervalField),
    "id": Kind(UUID, _json(st.uuids().map(str) | _TEXTS), "uuid", peewee.UUIDField),
    "bytes": Kind(bytes, _json(_TEXTS), "bytea", peewee.BlobField, same, bytes),
    "colour": Kind(
        Colour, _json(st.sampled_from(("red", "blue", "x"))), "text", peewee.TextField,
        lambda each: each.value,
    ),
    "choice": Kind(
        Literal["a", 1], _json(st.sampled_from(("a", 1, "x"))), "text", peewee.TextField, str
    ),
    "address": Kind(
        IPv4Address | IPv6Address,
        _json(st.ip_addresses().map(str)) | _NUMBERS, "text", peewee.TextField, str,
    ),
    "link": Kind(
        AnyUrl, _json(st.builds("http://a{}/{}".format, _TEXTS, _TEXTS)), "text", peewee.TextField,
        str,
    ),
    "secret": Kind(
        SecretStr, _json(_TEXTS), "text", peewee.TextField, lambda each: each.get_secret_value()
    ),
    "encoded": Kind(
        Base64Str,
        _json(st.binary().map(lambda each: base64.b64encode(each).decode())),
        "text", peewee.TextField,
    ),
    "anything": Kind(
        Any, _json(_ANYTHING), "jsonb", lambda: _BINARY_JSON(null=True), same, same,
    ),
    "document": Kind(dict[str, Any], _json(_ANYTHING), "jsonb", _BINARY_JSON),
    "inner document": Kind(
        _INNER[Any], _json(_json(_ANYTHING)), "jsonb", lambda: _BINARY_JSON(null=True)
    ),
    "texts": Kind(
        list[str], _json(st.lists(_TEXTS)), "text[]", lambda: ext.ArrayField(peewee.TextField)
    ),
    "numbers": Kind(
        set[int], _json(st.lists(st.integers(-(2**65), 2**65))), "bigint[]",
        lambda: ext.ArrayField(peewee.BigIntegerField), sorted,
    ),
    "numbers by name": Kind(
        dict[str, int], _json(st.dictionaries(_TEXTS, st.integers(-(2**65), 2**65))), "jsonb",
        _BINARY_JSON,
    ),
    "fractions by number": Kind(
        dict[int, float], _json(st.dictionaries(st.integers(-(2**65), 2**65), st.floats())),
        "jsonb", _BINARY_JSON, lambda each: {str(key): value for key, value in each.items()},
    ),
    "either": Kind(
        int | str | None, _NUMBERS | _json(_TEXTS), "text", lambda: peewee.TextField(null=True),
        lambda each: None if each is None else str(each),
    ),
}  # fmt: skip


def comparable(kind: Kind, value: Any) -> Any:
    """What two values have in common that are the same in the column."""
    return _number(kind.shown(value)) if kind.column == "jsonb" else kind.shown(value)
