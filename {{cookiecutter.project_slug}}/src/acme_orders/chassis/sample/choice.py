"""Which rows are taken: the first and the last, some of their children, and all their parents."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.closure import Reference
from acme_orders.chassis.retention.target import quoted
from acme_orders.chassis.sample.part import Part
from acme_orders.chassis.sample.tables import Sampled

Key = tuple[str, ...]
_AT_A_TIME = 500
CHILDREN = 5  # of a row, by each foreign key
_DEEPEST = 5  # times as many rows of a table as are asked for come from above


class Choice:
    """Rows by their keys; what is remembered grows with the sample, not with the database.

    Args:
        rows: runs SQL in the snapshot.
        tables: by their oid.
        keys: the foreign keys between them.
        most: rows of each table and part.
    """

    def __init__(
        self, rows: Rows, tables: Mapping[int, Sampled], keys: Sequence[Reference], most: int
    ) -> None:
        self._rows, self._tables, self._most = rows, tables, most
        self._keys = [each for each in keys if {each.child, each.parent} <= tables.keys()]
        self.taken: dict[int, set[Key]] = {oid: set() for oid in tables}

    def take(self, part: Part, tables: Iterable[Sampled]) -> None:
        """Take the first and the last rows of these tables, with children and parents."""
        began = dict[int, set[Key]]()
        for table in tables:
            if part.has(table.short, {column.name for column in table.columns}):
                began[table.oid] = set(self._ends(table, part))
        for oid, keys in began.items():
            self.taken[oid] |= keys
        self._down(began)
        self._up()

    def take_these(self, table: Sampled, keys: Iterable[Key]) -> None:
        """Take rows of a table by their keys; `complete` adds what they refer to."""
        self.taken[table.oid].update(keys)

    def complete(self) -> None:
        """Take what rows refer to, until nothing is missing."""
        self._up()

    def _ends(self, table: Sampled, part: Part) -> Iterator[Key]:
        key, where, given = table.key, "", list[Any]()
        if part.column:
            kind = next(each.type for each in table.columns if each.name == part.column)
            where, given = f"WHERE {quoted(part.column)} = %s::{kind}", [part.value]
        for direction, most in (("", (self._most + 1) // 2), (" DESC", self._most // 2)):
            order = ", ".join(quoted(each.name) + direction for each in key)
            yield from self._found(
                f"SELECT {_listed(table)} FROM {table.name} AS t {where} ORDER BY {order} LIMIT %s",
                [*given, most],
            )

    def _down(self, rows: Mapping[int, set[Key]]) -> None:
        """Some children, at any depth, as far as an index finds them."""
        while rows:
            below = dict[int, set[Key]]()
            for each in self._keys:
                # Nothing ends a walk around a circle but that all are taken.
                if not each.covered or not rows.get(each.parent):
                    continue
                parent, child = self._tables[each.parent], self._tables[each.child]
                same = " AND ".join(
                    f"t.{quoted(column)} = p.{quoted(referred)}"
                    for column, referred in zip(each.columns, each.referred, strict=True)
                )
                order = ", ".join(f"t.{quoted(column.name)}" for column in child.key)
                for some in _chunks(rows[each.parent]):
                    joined, given = among(parent, some, "p")
                    sql = (
                        f"SELECT c.* FROM {parent.name} AS p {joined} CROSS JOIN LATERAL (SELECT "
                        f"{_listed(child)} FROM {child.name} AS t WHERE {same} ORDER BY {order} "
                        "LIMIT %s) AS c"
                    )
                    below.setdefault(each.child, set()).update(self._found(sql, [*given, CHILDREN]))
            rows = {}
            for oid, found in below.items():
                room = max(0, _DEEPEST * self._most - len(self.taken[oid]))
                if new := set(sorted(found - self.taken[oid])[:room]):
                    self.taken[oid] |= new
                    rows[oid] = new

    def _up(self) -> None:
        """What rows refer to, until nothing is missing."""
        rows: Mapping[int, set[Key]] = self.taken
        while rows:
            above = dict[int, set[Key]]()
            for each in self._keys:
                child, parent = self._tables[each.child], self._tables[each.parent]
                same = " AND ".join(
                    f"p.{quoted(referred)} = t.{quoted(column)}"
                    for column, referred in zip(each.columns, each.referred, strict=True)
                )
                for some in _chunks(rows.get(each.child, ())):
                    joined, given = among(child, some, "t")
                    sql = (
                        f"SELECT DISTINCT {_listed(parent, 'p')} FROM {child.name} AS t {joined} "
                        f"JOIN {parent.name} AS p ON {same}"
                    )
                    above.setdefault(each.parent, set()).update(self._found(sql, given))
            rows = {oid: new for oid, found in above.items() if (new := found - self.taken[oid])}
            for oid, new in rows.items():
                self.taken[oid] |= new

    def _found(self, sql: str, given: Sequence[Any]) -> Iterator[Key]:
        return (tuple(row) for row in self._rows(sql, given))

    def values(self, table: Sampled) -> Iterator[Sequence[str | None]]:
        """The rows that are taken, each value as JSON; NULL is None."""
        listed = ", ".join(f"to_jsonb(t.{quoted(each.name)})::text" for each in table.columns)
        for some in _chunks(self.taken[table.oid]):
            joined, given = among(table, some, "t")
            keys = len(table.key)
            sql = f"SELECT {_listed(table)}, {listed} FROM {table.name} AS t {joined}"
            for row in sorted(self._rows(sql, given), key=lambda row: tuple(row[:keys])):
                yield row[keys:]


def among(table: Sampled, keys: Sequence[Key], alias: str) -> tuple[str, list[Any]]:
    """SQL that joins the rows with these keys, and what it is given."""
    names = ", ".join(f"k{each.place}" for each in table.key)
    lists = ", ".join("%s::text[]" for _ in table.key)
    same = " AND ".join(
        f"{alias}.{quoted(each.name)} = k.k{each.place}::{each.type}" for each in table.key
    )
    return f"JOIN unnest({lists}) AS k ({names}) ON {same}", [
        list(each) for each in zip(*keys, strict=True)
    ]


def _listed(table: Sampled, alias: str = "t") -> str:
    return ", ".join(f"{alias}.{quoted(each.name)}::text" for each in table.key)


def _chunks(keys: Iterable[Key]) -> Iterator[list[Key]]:
    ordered = sorted(keys)
    for first in range(0, len(ordered), _AT_A_TIME):
        yield ordered[first : first + _AT_A_TIME]
