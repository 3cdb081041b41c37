"""The form in which values travel to PostgreSQL: what Peewee would store, with any driver.

Each value becomes what PostgreSQL reads as a literal of its column: a text, or what JSON has. The
field says by `db_value` what is stored; it is not asked where its conversion is known to be none.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

import peewee
from playhouse import postgres_ext as ext

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.documents import document
from acme_orders.chassis.errors import QueryRefused

_OVERFLOW = "22008"  # what PostgreSQL says of a time that it cannot store
_HSTORE_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:NULL|"((?:[^"\\]|\\.)*)")', re.DOTALL)


class _Unfit(Exception):
    """A value that is not stored; says why, without the value."""


class _OutOfRange(_Unfit):
    """One of the right type, so it is whoever sent it who has to correct it."""


class Column:
    """How the values of a field travel.

    Attributes:
        plain: types whose values travel as they are.
    """

    def __init__(self, field: Any) -> None:
        kind, methods = field, _methods(field)
        while isinstance(kind, peewee.ForeignKeyField):
            kind = kind.rel_field
            methods = _methods(kind) if methods == _REFERENCE else methods
        self._field, self._known = field, _KNOWN.get(methods, {})
        self._document = kind.field_type in {"JSON", "JSONB"} and not _is_array(kind)
        self._own_spelling = self._document and (
            methods not in _DOCUMENTS or kind._dumps not in {None, json.dumps}  # noqa: SLF001
        )
        while _is_array(kind):
            kind = kind._ArrayField__field  # noqa: SLF001
        self._integer = isinstance(kind, peewee.IntegerField)
        self._hstore = isinstance(kind, ext.HStoreField)
        if self._document:
            self.plain = frozenset() if self._own_spelling else _PLAIN_IN_DOCUMENTS
        else:
            self.plain = frozenset(type_ for type_, form in self._known.items() if form is None)

    def form(self, value: Any) -> Any:
        """One value, as a parameter of a statement.

        Raises:
            QueryRefused: the field does not take it.
        """
        try:
            if self._document:
                return self._spelled(value)
            if type(value) in self.plain:
                return value
            if isinstance(value, peewee.Node) and not self._refers(value):
                _expression(value)  # a field for texts would make one of it
            return self._told(self._field.db_value(value))
        except Exception as error:
            reason = str(error) if isinstance(error, _Unfit) else type(error).__name__
            refused = QueryRefused(
                f"{self._field.model.__name__}.{self._field.name} does not take a value of type "
                f"{type(value).__name__}: {reason}"
            )
            if isinstance(error, _OutOfRange):
                refused.sqlstate = _OVERFLOW
            raise refused from error

    def forms(self, values: Sequence[Any]) -> tuple[Sequence[Any], bool]:
        """The values of many rows in JSON, and whether they are texts that spell documents.

        Raises:
            QueryRefused: the field does not take one of them.
        """
        if self._document:
            spelled = self._own_spelling or any(map(_is_wrapped, set(map(type, values))))
            return (list(map(self.form, values)) if spelled else values), spelled
        known, types = self._known, set(map(type, values))
        with suppress(_Unfit):  # which field it was is said below
            if len(types) == 1 and (form := known.get(*types)):
                return list(map(form, values)), False
            if types <= known.keys():
                return [form(v) if (form := known[type(v)]) else v for v in values], False
        return list(map(self.form, values)), False

    def _refers(self, value: Any) -> bool:
        return isinstance(value, peewee.Model) and isinstance(self._field, peewee.ForeignKeyField)

    def _spelled(self, value: Any) -> str | None:
        if not self._own_spelling and not _is_wrapped(type(value)):
            return None if value is None else document(value)
        value = self._field.db_value(value)
        return value if value is None or isinstance(value, str) else str(told(value))

    def _told(self, value: Any) -> Any:
        if self._integer and isinstance(value, float | Decimal) and math.isfinite(value):
            # As PostgreSQL does with a number for a column of integers.
            return int(Decimal(str(value)).to_integral_value(ROUND_HALF_UP))
        if self._hstore and isinstance(value, Mapping):
            return hstore(value)
        if isinstance(value, list):
            return _listed(value, "{}", self._told)
        return told(value)


def hstore(texts: Mapping[str, str | None]) -> str:
    """Texts by name, as PostgreSQL reads an hstore."""
    if not all(isinstance(each, str | None) for pair in texts.items() for each in pair):
        raise _Unfit("an hstore has texts only")
    return ",".join(
        f"{_quoted(name)}=>{'NULL' if text is None else _quoted(text)}"
        for name, text in texts.items()
    )


def read_hstore(written: Any) -> Any:
    """Texts by name, out of what PostgreSQL writes for an hstore."""
    if not isinstance(written, str):
        return written

    def plain(text: str | None) -> Any:
        return text and re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)

    return {plain(pair[1]): plain(pair[2]) for pair in _HSTORE_PAIR.finditer(written)}


def told(value: Any) -> Any:
    """A value that no field converts, in the form in which it travels."""
    for type_ in type(value).__mro__:
        if form := _TOLD.get(type_):
            return form(value)
    return driver.literal(value)


def _listed(values: Iterable[Any], brackets: str, form: Callable[[Any], Any]) -> str:
    """The literal of an array or a row."""
    parts, array = [], brackets == "{}"
    for value in values:
        if (part := form(value)) is None:
            parts.append("NULL" if array else "")
        else:
            parts.append(part if array and isinstance(value, list) else _quoted(str(part)))
    return f"{brackets[0]}{','.join(parts)}{brackets[1]}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hex(value: bytes | bytearray | memoryview) -> str:
    return "\\x" + value.hex()


def _moment(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value
    try:  # a column without zone gets the moment, and not the hour on somebody's clock
        return value.astimezone(UTC)
    except OverflowError:
        raise _OutOfRange(
            "in UTC it is outside of the years 1 to 9999, and nobody can read it"
        ) from None


def _span(value: timedelta) -> str:
    # In days, or PostgreSQL would make calendar years of 365 of them; each number has its sign.
    return f"{value.days} days +{value.seconds}.{value.microseconds:06} seconds"


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _decimal(value: Decimal) -> str:
    return "NaN" if value.is_nan() else str(value)  # PostgreSQL's has no sign


def _expression(_: peewee.Node) -> Any:
    raise _Unfit("an SQL expression is no value of a row, write it with manager.execute")


def _is_wrapped(type_: type) -> bool:
    """Whether values of this type are documents in the wrapping of Peewee or the driver."""
    return issubclass(type_, (peewee.Node, *driver.DOCUMENTS))


def _is_array(field: Any) -> bool:
    return isinstance(field, ext.ArrayField)


def _methods(field: Any) -> tuple[Any, ...]:
    return tuple(getattr(m, "__func__", m) for m in (field.db_value, field.adapt))


_TOLD: dict[type, Callable[[Any], Any]] = {
    type(None): lambda _: None,
    bool: bool,
    int: int.__int__,
    str: str.__str__,
    float: _number,
    Decimal: _decimal,
    UUID: str,
    datetime: _moment,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _span,
    bytes: _hex,
    bytearray: _hex,
    memoryview: _hex,
    list: lambda value: _listed(value, "{}", told),
    tuple: lambda value: _listed(value, "()", told),
    dict: document,
    ext.Json: lambda value: (value.dumps or json.dumps)(value.value),
    peewee.Node: _expression,
}
_ASKED = peewee.Field.db_value
# Fields by their `db_value` and `adapt`, and what these make of which types; None: nothing.
_CONVERSIONS: Sequence[tuple[Any, Any, dict[type, Any]]] = (
    (_ASKED, peewee.Field.adapt, {str: None, int: None, bool: None}),
    (_ASKED, peewee.IntegerField.adapt, {int: None}),
    (_ASKED, peewee.FloatField.adapt, {float: _number}),
    (_ASKED, peewee.TextField.adapt, {str: None}),
    (_ASKED, bool, {bool: None}),
    (_ASKED, peewee.DateField.adapt, {date: None}),
    (_ASKED, peewee.DateTimeField.adapt, {datetime: _moment}),
    (peewee.UUIDField.db_value, peewee.Field.adapt, {UUID: None}),
    (peewee.BlobField.db_value, peewee.Field.adapt, {bytes: _hex}),
)
_KNOWN = {(db_value, adapt): {type(None): None, **forms} for db_value, adapt, forms in _CONVERSIONS}
_PLAIN_IN_DOCUMENTS = frozenset({type(None), dict, list, str, int, float, bool})
_DOCUMENTS = {(field.db_value, field.adapt) for field in (ext.JSONField, peewee.JSONField)}
_REFERENCE = (peewee.ForeignKeyField.db_value, peewee.ForeignKeyField.adapt)
