"""Rows as they come from a cursor. One that cannot be read is told of, and hides no other.

PostgreSQL has values that Python has no form for: `infinity`, years before 1 and above 9999. And a
field may refuse what it finds.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import peewee
from peewee_async.result_wrappers import SyncCursorAdapter

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.lease import Fetch
from acme_orders.chassis.database.values import told


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that cannot be read.

    Args:
        column: whose value is to blame.
        key: of the row, as far as it was asked for and can be read.
    """

    column: str
    key: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What a statement has found.

    Args:
        rows: those that can be read.
        unreadable: the others.
        last: row of all, as the driver gives it; None if there is none.
    """

    rows: list[Any]
    unreadable: Sequence[Unreadable] = ()
    last: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.rows) + len(self.unreadable)


@dataclass(frozen=True, slots=True)
class _Reader:
    """How a row is read; with the name and conversion of each column, and the places of a key."""

    read: Callable[[Sequence[Any]], Any]
    names: Sequence[str]
    conversions: Sequence[Callable[[Any], Any] | None] = ()
    keys: Mapping[int, str] = field(default_factory=dict)

    def all(self, rows: Sequence[Sequence[Any]], marked: Mapping[int, int]) -> Found:
        """Read rows; `marked` are those that the driver could not read, each with its column."""
        last = rows[-1] if rows else None
        if not marked:
            with suppress(Exception):  # a field refuses a value
                return Found(list(map(self.read, rows)), last=last)
        readable, unreadable = [], []
        for number, row in enumerate(rows):
            column = marked.get(number)
            try:
                if column is None:
                    readable.append(self.read(row))
                    continue
            except Exception:
                column = self._refused(row)
                if column is None:
                    raise
            unreadable.append(Unreadable(self.names[column], self._key(row)))
        return Found(readable, unreadable, last)

    def _refused(self, row: Sequence[Any]) -> int | None:
        """The column whose field refuses its value."""
        for column, (convert, value) in enumerate(zip(self.conversions, row, strict=True)):
            try:
                if convert is not None:
                    convert(value)
            except Exception:
                return column
        return None

    def _key(self, row: Sequence[Any]) -> Mapping[str, str]:
        known = {place for place in self.keys if row[place] is not driver.UNREADABLE}
        return {self.keys[place]: str(told(row[place])) for place in sorted(known)}


def models(query: Any) -> Fetch:
    """The rows of a Peewee query, in the form that it asks for."""

    def reader(cursor: Any) -> _Reader:
        described = SyncCursorAdapter([], cursor.description)
        wrapper = query._get_cursor_wrapper(described)  # noqa: SLF001
        wrapper.initialize()
        model, fields = getattr(query, "model", None), getattr(wrapper, "fields", ())
        keys = model._meta.get_primary_keys() if model else ()  # noqa: SLF001
        return _Reader(
            wrapper.process_row,
            _names(cursor),
            getattr(wrapper, "converters", ()),
            {place: each.name for place, each in enumerate(fields) if each in set(keys)},
        )

    return partial(_fetch, reader)


def tuples(fields: Sequence[peewee.Field] = ()) -> Fetch:
    """Rows as tuples; with `fields` their values are those of these fields."""
    conversions: list[Callable[[Any], Any]] = [each.python_value for each in fields]

    def read(row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple([convert(value) for convert, value in zip(conversions, row, strict=True)])

    return partial(
        _fetch, lambda cursor: _Reader(read if fields else tuple, _names(cursor), conversions)
    )


async def _fetch(reader: Callable[[Any], _Reader], cursor: Any) -> Found:
    if not cursor.description:
        return Found([])
    rows, marked = await driver.fetch(cursor)
    return reader(cursor).all(rows, marked)


def _names(cursor: Any) -> list[str]:
    return [each[0] for each in cursor.description]
