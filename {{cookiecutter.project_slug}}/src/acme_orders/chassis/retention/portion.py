"""One portion: rows that are old enough, and all that refers to them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.anonymising import Anonymised
from acme_orders.chassis.retention.closure import Chain, Closure
from acme_orders.chassis.retention.target import Target, quoted

Position = tuple[str, ...]  # the age of a row and its key, as texts
DIGESTS = 1 << 256


@dataclass(frozen=True)
class Portion:
    """Rows that are locked, or gone.

    Args:
        keys: of them.
        end: where the next portion begins.
        gone: they are deleted.
    """

    keys: list[tuple[str, ...]]
    end: Position
    gone: bool = False

    @property
    def digest(self) -> int:
        """The sum of the SHA-256 of each key: the same, however they are parted."""
        texts = ("\x1f".join(key).encode() for key in self.keys)
        return sum(int(hashlib.sha256(text).hexdigest(), 16) for text in texts) % DIGESTS


class Doomed:
    """The rows of one table that are too old.

    Args:
        rows: runs SQL in the open transaction.
        target: the table.
        related: what goes with its rows.
        cutoff: a row that is older goes.
        held: SQL for rows `t0` that stay nevertheless.
    """

    def __init__(
        self, rows: Rows, target: Target, related: Closure, cutoff: str, held: str = "false"
    ) -> None:
        self._rows, self.target, self._related, self.cutoff = rows, target, related, cutoff
        only = target.policy.only
        pinned = [f"t0.{quoted(name)} = %s::{target.types[name]}" for name in only]
        names = (target.policy.age, *target.key)
        self._old = " AND ".join([*pinned, f"t0.{quoted(names[0])} < %s::timestamptz"])
        self._held, self._values = held, list[Any]([*only.values(), cutoff])
        if new := Anonymised(target):  # who has forgotten already is not met again
            self._old, self._values = (
                f"{self._old} AND ({new.not_yet})",
                [*self._values, *new.values],
            )
        self._new = new
        self._goes = f"{self._old} AND NOT {held}"
        self._texts = ", ".join(f"t0.{quoted(name)}::text" for name in names)
        # Of the table: by itself, a name would mean the text that is selected, which no index has.
        self._order = ", ".join(f"t0.{quoted(name)}" for name in names)

    def count(self, most: int | None = None) -> int:
        """How many there are; stops at `most`."""
        return self._counted(self._goes, most)

    def held(self, most: int) -> int:
        """How many are as old, and stay; stops at `most`."""
        return self._counted(f"{self._old} AND {self._held}", most)

    def ahead(self, position: Position | None, size: int) -> Portion | None:
        """Lock the next ones, but for those that somebody else has; None if there is none.

        Where nothing goes with them and no archive keeps them they are deleted at once. A single
        row never is: somebody may have a hold on it, and then it has to be known which one it is.
        """
        selected, values = self._next(position, size)
        if size > 1 and not self._related.chains and not self.target.archives:
            return self._at_once(selected, values)
        found = self._rows(f"SELECT {self._texts} {selected}", values)
        return Portion([tuple(row[1:]) for row in found], tuple(found[-1])) if found else None

    def delete(self, portion: Portion) -> Iterator[tuple[str, int]]:
        """Delete them, after all that refers to them; yields how many of which table."""
        if portion.gone:
            yield self.target.policy.name, len(portion.keys)
            return
        keys = [list(column) for column in zip(*portion.keys, strict=True)]
        for chain in self._related.chains:
            yield chain[-1].short, self._count(chain, chain[-1].short, keys)
        yield self.target.policy.name, self._count((), str(self.target.policy.table), keys)

    def below(self, chain: Chain) -> int:
        """How many rows at the end of these references are to go."""
        tables = [self.target.table, *(each.table for each in chain)]
        named = ", ".join(f"{table} AS t{at}" for at, table in enumerate(tables))
        both = " AND ".join([*met(chain), self._goes])
        sql = f"SELECT count(*) FROM {named} WHERE {both}"
        return int(self._rows(sql, self._values)[0][0])

    def _counted(self, where: str, most: int | None) -> int:
        ((count,),) = self._rows(
            f"SELECT count(*) FROM (SELECT FROM {self.target.table} AS t0 WHERE {where} "
            "LIMIT %s) AS doomed",
            (*self._values, most),
        )
        return int(count)

    def _next(self, position: Position | None, size: int) -> tuple[str, list[Any]]:
        names = (self.target.policy.age, *self.target.key)
        after, values = "", list[Any](self._values)
        if position:
            given = ", ".join(f"%s::{self.target.types[name]}" for name in names)
            after = f" AND ({self._order}) > ({given})"
            values += position
        order = f"ORDER BY {self._order} LIMIT %s FOR UPDATE SKIP LOCKED"
        return f"FROM {self.target.table} AS t0 WHERE {self._goes}{after} {order}", [*values, size]

    def _at_once(self, selected: str, values: Sequence[Any]) -> Portion | None:
        # They are found again by where they are stored: this costs half of what their keys do, and
        # reads no index of them.
        names = ", ".join(f"k{at}" for at in range(len(self.target.key) + 1))
        same = "t1.tableoid = doomed.part AND t1.ctid = doomed.place"
        found = self._rows(
            f"WITH doomed (part, place, {names}) AS MATERIALIZED "
            f"(SELECT tableoid, ctid, {self._texts} {selected}), "
            f"gone AS ({self._takes(f'{self.target.table} AS t1', 'doomed', same)} "
            "RETURNING doomed.part, doomed.place) "
            f"SELECT (part, place) IN (TABLE gone), {names} FROM doomed",
            [*values, *self._new.values],
        )
        keys = [tuple(row[2:]) for row in found if row[0]]
        return Portion(keys, tuple(found[-1][1:]), gone=True) if found else None

    def _takes(self, table: str, others: str, where: str) -> str:
        if self._new:
            return f"UPDATE {table} SET {self._new.set} FROM {others} WHERE {where}"
        return f"DELETE FROM {table} USING {others} WHERE {where}"

    def _joined(self, chain: Chain) -> str:
        """The same for the table at the end, joined to the rows that are locked."""
        tables = [self.target.table, *(each.table for each in chain)]
        names = [f"{table} AS t{at}" for at, table in enumerate(tables)]
        key = self.target.key
        given = ", ".join("%s::text[]" for _ in key)
        columns = ", ".join(f"k{at}" for at, _ in enumerate(key))
        doomed = f"unnest({given}) AS doomed ({columns})"
        types = self.target.types
        same = [f"t0.{quoted(name)} = doomed.k{at}::{types[name]}" for at, name in enumerate(key)]
        using = ", ".join([*names[:-1], doomed])
        return self._takes(names[-1], using, " AND ".join([*same, *met(chain)]))

    def _count(self, chain: Chain, table: str, keys: Sequence[Any]) -> int:
        # One statement: a row is in the archive if it is gone, and only then.
        archive = self.target.archives.get(table)
        kept, what = (f", kept AS ({archive})", f"t{len(chain)}.*") if archive else ("", "1")
        sql = (
            f"WITH gone AS ({self._joined(chain)} RETURNING {what}){kept} SELECT count(*) FROM gone"
        )
        return int(self._rows(sql, [*self._new.values, *keys])[0][0])


def met(chain: Chain, names: Sequence[str] = ()) -> Iterator[str]:
    """The conditions that join the tables of a chain.

    Args:
        chain: of references.
        names: of the tables in the statement: without any `t0` is the first of them.
    """
    names = names or [f"t{at}" for at in range(len(chain) + 1)]
    for at, each in enumerate(chain):
        for column, referred in zip(each.columns, each.referred, strict=True):
            yield f"{names[at + 1]}.{quoted(column)} = {names[at]}.{quoted(referred)}"
