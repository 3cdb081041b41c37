"""Fields of each kind that Peewee has, and of our own, with values that people give them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from functools import partial
from types import ModuleType
from typing import Any

import peewee
from hypothesis import strategies as st
from playhouse import postgres_ext as ext

from tests.chassis.integration.fields import (
    Cents,
    Colour,
    EmptyForNone,
    Level,
    Mood,
    Moods,
    Parent,
    Sealed,
    SealedParent,
    Spelled,
    exact,
)

Values = st.SearchStrategy[Any]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
SMALL = st.integers(-(2**15), 2**15 - 1)
NUMBERS = st.integers(-(2**31), 2**31 - 1)
LARGE = st.integers(-(2**63), 2**63 - 1)
# Shortest representations of decimal numbers that numeric(10, 5) holds.
DECIMALS = st.decimals(-9999, 9999, places=6)
# psycopg2 loses the sign of -0.0; we do not.
FINITE = st.floats(-1e300, 1e300).map(lambda number: number or 0.0)
FLOATS = FINITE | st.sampled_from([float("inf"), float("-inf"), float("nan")])
ZONES = st.sampled_from([UTC, *(timezone(timedelta(minutes=m)) for m in (-720, -1, 345, 840))])
MOMENTS = st.datetimes().filter(lambda at: 1 < at.year < 9999)
AWARE = st.datetimes(timezones=ZONES).filter(lambda at: 1 < at.year < 9999)
DATES = st.dates()
SPANS = st.timedeltas(timedelta(days=-(10**8)), timedelta(days=10**8)) | st.sampled_from(
    [timedelta(days=365), timedelta(days=400), timedelta(seconds=-1), timedelta(microseconds=-1)]
)
BYTES = st.binary(max_size=40) | st.sampled_from([b"abc", b"\\x41", b"\\\\", b"\xff\x00", b""])
UUIDS = st.uuids()
NAMES = TEXT | st.none() | st.booleans() | st.integers(-9, 9) | st.just("None")
COLOURS, LEVELS = st.sampled_from(Colour), st.sampled_from(Level)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | LARGE | st.floats(-1e15, 1e15) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
HSTORES = st.dictionaries(TEXT, st.none() | TEXT, max_size=4)


@dataclass(frozen=True)
class Kind:
    """A kind of field.

    Args:
        make: a new field of it.
        values: that it is given; None comes besides.
        type: of its column; without it what Peewee says.
        shown: type of what is compared; of a document not the text, but what it says.
        null: whether the column may be NULL.
    """

    make: Callable[..., peewee.Field]
    values: Values
    type: str = ""
    shown: str = "text"
    null: bool = True


def of_type(type_: str) -> Callable[..., peewee.Field]:
    """A field without a conversion, for a column of this type."""
    return type("Own", (peewee.Field,), {"field_type": type_})


def array_of(kind: type[peewee.Field], *, convert: bool = False) -> Callable[..., peewee.Field]:
    """A field for many values of another."""
    return partial(ext.ArrayField, kind, convert_values=convert, index=False)


def many(values: Values) -> Values:
    """Arrays, in one and in two dimensions."""
    square = st.lists(st.lists(values, min_size=2, max_size=2), min_size=1, max_size=3)
    return st.lists(st.none() | values, min_size=1, max_size=4) | square


def kinds_of(*modules: ModuleType) -> set[type[peewee.Field]]:
    """Every class of fields that is there."""
    return {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, peewee.Field)
    }


# What has no column, or stands for another field.
WITHOUT_COLUMN = {
    peewee.Field,
    peewee.FieldAlias,
    peewee.MetaField,
    peewee.VirtualField,
    peewee.CompositeKey,
    peewee.ManyToManyField,
    peewee.DeferredForeignKey,
    peewee.PrimaryKeyField,  # an AutoField that warns
    peewee._BaseFormattedField,
    peewee._StringField,
}
PEEWEE: dict[type[peewee.Field], Kind] = {
    peewee.AnyField: Kind(peewee.AnyField, TEXT | NUMBERS, "text"),
    peewee.AutoField: Kind(peewee.AutoField, st.integers(1, 2**31 - 1), null=False),
    peewee.BareField: Kind(peewee.BareField, TEXT | NUMBERS, "text"),
    peewee.BigAutoField: Kind(peewee.BigAutoField, st.integers(1, 2**63 - 1), null=False),
    peewee.BigBitField: Kind(peewee.BigBitField, BYTES | BYTES.map(bytearray)),
    peewee.BigIntegerField: Kind(peewee.BigIntegerField, LARGE | LARGE.map(str)),
    peewee.BinaryUUIDField: Kind(
        peewee.BinaryUUIDField, UUIDS | UUIDS.map(lambda u: u.hex) | UUIDS.map(lambda u: u.bytes)
    ),
    peewee.BitField: Kind(peewee.BitField, LARGE),
    peewee.BlobField: Kind(
        peewee.BlobField,
        BYTES | BYTES.map(bytearray) | BYTES.map(memoryview) | TEXT,  # type: ignore[arg-type]
    ),
    peewee.BooleanField: Kind(peewee.BooleanField, st.booleans() | NUMBERS | TEXT),
    peewee.CharField: Kind(peewee.CharField, TEXT | NUMBERS | TEXT.map(str.encode) | UUIDS),
    peewee.DateField: Kind(peewee.DateField, DATES | DATES.map(str) | MOMENTS | AWARE),
    peewee.DateTimeField: Kind(
        peewee.DateTimeField, MOMENTS | AWARE | MOMENTS.map(str) | AWARE.map(str) | DATES
    ),
    peewee.DecimalField: Kind(
        peewee.DecimalField, DECIMALS | NUMBERS.map(lambda n: n % 999) | st.booleans()
    ),
    peewee.DoubleField: Kind(peewee.DoubleField, FLOATS | LARGE | DECIMALS),
    peewee.FixedCharField: Kind(partial(peewee.FixedCharField, max_length=8), TEXT | NUMBERS),
    peewee.FloatField: Kind(peewee.FloatField, FLOATS | LARGE | DECIMALS | st.booleans()),
    peewee.ForeignKeyField: Kind(
        partial(peewee.ForeignKeyField, Parent), BYTES | BYTES.map(lambda key: Parent(id=key))
    ),
    peewee.IPField: Kind(peewee.IPField, st.ip_addresses(v=4).map(str)),
    peewee.IdentityField: Kind(peewee.IdentityField, st.integers(1, 2**31 - 1), null=False),
    peewee.IntegerField: Kind(
        peewee.IntegerField,
        NUMBERS | NUMBERS.map(str) | st.booleans() | DECIMALS | st.floats(-99, 99) | LEVELS,
    ),
    peewee.JSONField: Kind(peewee.JSONField, DOCUMENTS),
    peewee.SmallIntegerField: Kind(peewee.SmallIntegerField, SMALL),
    peewee.TextField: Kind(peewee.TextField, TEXT | NUMBERS | COLOURS),
    peewee.TimeField: Kind(
        peewee.TimeField, st.times() | st.times(timezones=ZONES) | MOMENTS | st.times().map(str)
    ),
    peewee.TimestampField: Kind(
        partial(peewee.TimestampField, resolution=6, utc=True), MOMENTS | AWARE | DATES | NUMBERS
    ),
    peewee.UUIDField: Kind(
        peewee.UUIDField,
        UUIDS
        | UUIDS.map(str)
        | UUIDS.map(lambda u: u.hex)
        | UUIDS.map(lambda u: u.bytes)
        | UUIDS.map(lambda u: u.urn),
    ),
    ext.ArrayField: Kind(array_of(peewee.IntegerField), many(NUMBERS)),
    ext.BinaryJSONField: Kind(partial(ext.BinaryJSONField, index=False), DOCUMENTS),
    ext.DateTimeTZField: Kind(ext.DateTimeTZField, MOMENTS | AWARE | AWARE.map(str)),
    ext.HStoreField: Kind(partial(ext.HStoreField, index=False), HSTORES),
    ext.IntervalField: Kind(ext.IntervalField, SPANS),
    ext.JSONField: Kind(ext.JSONField, DOCUMENTS, shown="jsonb"),
    ext.TSVectorField: Kind(
        partial(ext.TSVectorField, index=False), st.sampled_from(["a:1 b:2", "fat cats", ""])
    ),
}
OWN: dict[str, Kind] = {
    "sealed text": Kind(Sealed, TEXT),
    "cents": Kind(Cents, st.decimals(-9999, 9999, places=3) | NUMBERS.map(lambda n: n % 999)),
    "never null": Kind(EmptyForNone, TEXT),
    "spelled document": Kind(Spelled, DOCUMENTS),
    "document with its own dumps": Kind(
        partial(ext.BinaryJSONField, dumps=exact, index=False), DOCUMENTS
    ),
    "json with its own dumps": Kind(partial(ext.JSONField, dumps=exact), DOCUMENTS, shown="jsonb"),
    "enum": Kind(Mood, st.sampled_from(Moods)),
    "key of a sealed parent": Kind(partial(peewee.ForeignKeyField, SealedParent), TEXT),
    "number of many digits": Kind(
        of_type("numeric"), st.decimals(allow_nan=True, allow_infinity=False) | LARGE
    ),
    "rounded to an integer": Kind(Cents, DECIMALS, "bigint"),
    "real": Kind(of_type("real"), st.floats(0.5, 1000, width=32)),
    "text without case": Kind(of_type("citext"), TEXT),
    "bits": Kind(of_type("bit(3)"), st.sampled_from(["101", "000"])),
    "characters": Kind(of_type("char(5)"), st.text("ab ", max_size=5)),
    "address": Kind(of_type("inet"), st.ip_addresses().map(str)),
    "period": Kind(of_type("tstzrange"), st.just("[2026-01-01 00:00:00+00,)")),
    "numbers from to": Kind(of_type("int4range"), st.just("[1,5)")),
    "time with zone": Kind(of_type("timetz"), st.times(timezones=ZONES)),
    "row": Kind(of_type("place"), st.tuples(NUMBERS, TEXT.filter(bool))),
    "domain": Kind(of_type("amount"), st.integers(0, 2**62), null=False),
    "texts": Kind(array_of(peewee.TextField), many(TEXT)),
    "texts, converted": Kind(array_of(peewee.TextField, convert=True), many(TEXT | NUMBERS)),
    "sealed texts": Kind(array_of(Sealed, convert=True), many(TEXT)),
    "bytes": Kind(array_of(peewee.BlobField), many(BYTES)),
    "keys": Kind(array_of(peewee.UUIDField, convert=True), many(UUIDS)),
    "moments": Kind(array_of(ext.DateTimeTZField), many(AWARE)),
    "moments without zone": Kind(array_of(peewee.DateTimeField), many(MOMENTS)),
    "spans": Kind(array_of(ext.IntervalField), many(SPANS)),
    "floats": Kind(array_of(peewee.DoubleField), many(FINITE)),
    "truths": Kind(array_of(peewee.BooleanField), many(st.booleans())),
    "documents": Kind(array_of(ext.BinaryJSONField, convert=True), many(DOCUMENTS)),
}
