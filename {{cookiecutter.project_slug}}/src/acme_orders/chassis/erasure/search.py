"""A table that is searched for the values of a person, a few blocks at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.blocks import blocks_of, within
from acme_orders.chassis.erasure.classes import FREE_TEXT, PERSONAL, Kinds
from acme_orders.chassis.erasure.columns import Column, columns_in
from acme_orders.chassis.erasure.own import GOING
from acme_orders.chassis.erasure.places import conditions
from acme_orders.chassis.erasure.shapes import pattern
from acme_orders.chassis.retention.target import quoted


@dataclass(frozen=True)
class Values:
    """What is searched for.

    Args:
        of_the_person: each is nobody else's.
        whose: rows are searched, where these are kept apart.
        spared: for a table, the keys of rows that are left for the end.
    """

    of_the_person: frozenset[str]
    whose: str
    spared: Mapping[str, tuple[str, Sequence[str]]]


class Searched:
    """A table with its columns.

    Args:
        columns: of it that have texts.
        kinds: of these columns.
        values: that are searched for.
        only: SQL for the rows that are searched; empty for all.
    """

    def __init__(
        self, columns: Sequence[Column], kinds: Mapping[str, str], values: Values, only: str
    ) -> None:
        self.table, self.short = columns[0].table, columns[0].short
        self._kinds, self._going = kinds, self.short in GOING
        strict = pattern(values.of_the_person, whole=True)
        loose = pattern(values.of_the_person, whole=False)
        self._patterns = {
            each: strict if kinds.get(each.name) == PERSONAL else loose for each in columns
        }
        self._writable = False
        self._where = f" AND {only}" if only else ""
        self._more: list[Any] = [values.whose] if only else []
        if self.table in values.spared:
            key, spared = values.spared[self.table]
            self._where += f" AND NOT {key} = ANY (%s)"
            self._more = [*self._more, list(spared)]

    @property
    def _goes(self) -> list[Column]:
        """The columns in which it is overwritten."""
        kinds = {PERSONAL, FREE_TEXT}
        return [
            each
            for each in self._patterns
            if self._kinds.get(each.name) in kinds and not each.follows and not each.view
        ]

    def blocks(self, rows: Rows) -> int:
        """How many there are."""
        needed = "DELETE" if self._going else "UPDATE"
        count, self._writable = blocks_of(rows, self.table, needed)
        return count

    def erase(self, rows: Rows, first: int, last: int) -> int:
        """Erase what is found in these blocks; returns in how many rows."""
        columns = list(self._patterns) if self._going else self._goes
        if not columns or not self._writable:  # what is found there is told at the end
            return 0
        found, values = self._found(columns)
        where, among = f"{within(first, last)} AND ({found}){self._where}", self._more
        if self._going:
            sql, given = f"DELETE FROM {self.table} AS t WHERE {where}", values
        else:
            changes = ", ".join(
                f"{quoted(each.name)} = CASE WHEN {each.text()} ~* %s::text "
                f"THEN {each.nothing('t')} ELSE t.{quoted(each.name)} END"
                for each in columns
            )
            sql, given = f"UPDATE {self.table} AS t SET {changes} WHERE {where}", [*values, *values]
        count = f"WITH gone AS ({sql} RETURNING 1) SELECT count(*) FROM gone"
        return int(rows(count, [*given, *among])[0][0])

    def left(self, rows: Rows, first: int, last: int) -> Iterator[tuple[str, int]]:
        """The columns of these blocks in which something is found, and how often."""
        columns = list(self._patterns)
        found, values = self._found(columns)
        counts = ", ".join(f"count(*) FILTER (WHERE {each.text()} ~* %s::text)" for each in columns)
        where = f"{within(first, last)} AND ({found}){self._where}"
        sql = f"SELECT {counts} FROM {self.table} AS t WHERE {where}"
        (row,) = rows(sql, [*values, *values, *self._more])
        for each, count in zip(columns, row, strict=True):
            if count:
                yield f"{self.table}.{each.name}", count

    def _found(self, columns: Sequence[Column]) -> tuple[str, list[Any]]:
        conditions = [f"{each.text()} ~* %s::text" for each in columns]
        return " OR ".join(conditions), [self._patterns[each] for each in columns]


def searched(rows: Rows, place: str, kinds: Kinds, values: Values) -> list[Searched]:
    """All tables of a schema that have texts."""
    tables = dict[str, list[Column]]()
    for each in columns_in(rows, place):
        tables.setdefault(each.table, []).append(each)
    only = conditions(rows, place) if values.whose else {}
    return [
        Searched(columns, kinds.get(columns[0].short, {}), values, only.get(table, ""))
        for table, columns in tables.items()
    ]
