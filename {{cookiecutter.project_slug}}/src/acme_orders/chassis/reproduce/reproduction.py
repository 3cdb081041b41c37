"""Puts a test together: the message and the rows that it is about, both without anybody's data."""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.classes import (
    FREE_TEXT,
    NOT_PERSONAL,
    Classes,
    Kinds,
)
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.reproduce.disguise import Disguise
from acme_orders.chassis.reproduce.relevant import Relevant
from acme_orders.chassis.reproduce.trial import Trial, values_in
from acme_orders.chassis.retention.closure import Reference, references
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.sample.choice import Choice
from acme_orders.chassis.sample.leaks import Leaks
from acme_orders.chassis.sample.masking import Masking
from acme_orders.chassis.sample.part import Part
from acme_orders.chassis.sample.places import parts
from acme_orders.chassis.sample.pseudonyms import Pseudonyms
from acme_orders.chassis.sample.tables import Sampled, kinds_of, tables_in

_APPLICATION = "acme-orders reproduce"
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Reproduction:
    """What it is made from.

    Args:
        url: of the database; it is only read.
        said: of the columns of each table.
        known: what models say, for the lines to write.
        limits: of a statement.
    """

    url: str
    said: Kinds
    known: Sequence[Classes]
    limits: Limits = field(default_factory=lambda: Limits(statement=30, lock=2))

    def of(
        self, body: Any, payload: type[Payload] | None, trial: Trial
    ) -> tuple[Any, Mapping[str, Sequence[Row]]]:
        """The body, and rows by the name of their table, parents first.

        Args:
            body: of the message, as it came.
            payload: that it should be; None if nobody knows its type.
            trial: what its handler asked PostgreSQL for.

        Raises:
            ConfigurationError: a column is unclassified, or nobody has this id.
            ServiceError: something personal would have been left.
        """
        with backfill_session(self.url, application=_APPLICATION) as session:
            begin = f"{_SNAPSHOT}; {entered(SHARED)}"
            with session.transaction(begin, self.limits, statement=self.limits.statement):
                return self._of(session.rows, body, payload, trial)

    def _of(
        self, rows: Rows, body: Any, payload: type[Payload] | None, trial: Trial
    ) -> tuple[Any, Mapping[str, Sequence[Row]]]:
        found = parts(rows, trial.whose, 1)
        owner = next((part.column for part in found if not part.table), "")
        found = list(dict.fromkeys([*found, Part(SHARED, without=owner)]))
        places = dict.fromkeys((SHARED, *(part.place for part in found)))
        by_place = {place: list(_of_slices(rows, place)) for place in places}
        tables = {each.oid: each for some in by_place.values() for each in some}
        keys, pseudonyms = references(rows), Pseudonyms(secrets.token_hex(16))
        kinds = kinds_of(rows, list(tables.values()), keys, self.said, self.known)
        choice = Choice(rows, tables, keys, 1)
        if trial.decoded:
            relevant = Relevant(rows, list(tables.values()), {*trial.values, *values_in(body)})
            for part in found:
                for table in by_place[part.place]:
                    if part.has(table.short, {each.name for each in table.columns}):
                        choice.take_these(table, relevant.keys(table, part))
            choice.complete()

        stored, originals, harmless = dict[str, list[Row]](), list[_Original](), set[str]()
        for table in _parents_first(tables, keys):
            masking = Masking(table, kinds[table.oid], pseudonyms)
            for values in choice.values(table):
                row = zip(table.columns, masking.row(values), strict=True)
                masked = {column.name: _value(value) for column, value in row}
                stored.setdefault(table.short, []).append(masked)
                originals += _classified(table, kinds[table.oid], values)
                harmless |= {value for value in masked.values() if isinstance(value, str)}
        disguised = Disguise(tables.values(), kinds, pseudonyms, payload, harmless).body(body)
        _refuse_leaks(pseudonyms, {**stored, "the body": [{"": disguised}]}, originals)
        return disguised, stored


class _Original(NamedTuple):
    """A value of a classified column."""

    column: str
    value: Any
    free: bool


def _classified(
    table: Sampled, kinds: Mapping[str, str], values: Sequence[str | None]
) -> Iterator[_Original]:
    for column, value in zip(table.columns, values, strict=True):
        kind = kinds.get(column.name, NOT_PERSONAL)
        if kind != NOT_PERSONAL and value is not None:
            yield _Original(f"{table.name}.{column.name}", _value(value), kind == FREE_TEXT)


def _refuse_leaks(
    pseudonyms: Pseudonyms, shown: Mapping[str, Sequence[Row]], originals: Iterable[_Original]
) -> None:
    """Look for everything that was replaced in what is shown."""
    leaks = Leaks(pseudonyms.generated)
    for name, some in shown.items():
        for row in some:
            leaks.read(json.dumps({"table": name, "row": row}))
    for original in originals:
        if place := leaks.find(original.value, free=original.free):
            raise ServiceError(
                f"a value of {original.column} would stand in {place.rstrip('.')} of the test: say "
                "in the Meta of a model that this is personal or free_text too"
            )


def _of_slices(rows: Rows, place: str) -> Iterator[Sampled]:
    return (each for each in tables_in(rows, place) if each.short not in OWN)


def _parents_first(tables: Mapping[int, Sampled], keys: Sequence[Reference]) -> Iterator[Sampled]:
    above: dict[int, set[int]] = {oid: set() for oid in sorted(tables)}
    for each in keys:
        if each.child != each.parent and {each.child, each.parent} <= tables.keys():
            above[each.child].add(each.parent)
    try:
        return (tables[oid] for oid in list(TopologicalSorter(above).static_order()))
    except CycleError:
        return iter(tables.values())  # PostgreSQL will say which comes too early


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)
