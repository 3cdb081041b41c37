"""The rows of one person: where a slice knows them, and all that refers to these."""

from collections.abc import Iterator, Sequence
from typing import Any

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.classes import FREE_TEXT, PERSONAL, Kinds
from acme_orders.chassis.erasure.columns import Column, all_columns_in
from acme_orders.chassis.erasure.places import conditions
from acme_orders.chassis.erasure.requests import Request, digest
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.closure import Chain, chains_to, closure
from acme_orders.chassis.retention.portion import met
from acme_orders.chassis.retention.target import TABLE, quoted


class Person:
    """Rows of one table of one schema.

    Args:
        rows: runs SQL in the open transaction.
        subject: what the slice says.
        place: the schema.
        kinds: of the columns of each table.

    Raises:
        ConfigurationError: the rows may not be erased as the slice says; names each reason.
    """

    def __init__(self, rows: Rows, subject: Subject, place: str, kinds: Kinds) -> None:
        self._rows, self._subject, self._kinds = rows, subject, kinds
        ((oid, self.table, columns, _, key),) = rows(TABLE, (place, subject.name))
        problems = [
            f"{self.table} has no column {name}, which Subject({subject.name!r}, …) names"
            for name in subject.by
            if name not in columns
        ]
        if not key:
            problems.append(f"{self.table} has no primary key, by which rows are found again")
        self._going = tuple[Chain, ...]()
        if subject.delete:
            related = closure(rows, oid, self.table, subject)
            self._going, problems = related.chains, [*problems, *related.problems]
        if problems:
            raise ConfigurationError("\n".join(problems))
        self._only = conditions(rows, place).get(self.table)
        self._key = tuple(map(quoted, key))
        self._staying = [
            chain
            for chain in chains_to(rows, oid, all_of_them=True)
            if chain not in self._going
            and chain[-1].child not in {oid, *(each.child for each in chain[:-1])}
        ]
        self._columns = dict[str, list[Column]]()
        for each in all_columns_in(rows, place):
            self._columns.setdefault(each.table, []).append(each)

    def key(self, table: str) -> str:
        """SQL for a text that tells the rows of the table apart."""
        return f"ARRAY[{', '.join(f'{table}.{name}::text' for name in self._key)}]::text"

    def find(self, request: Request, subject: str | None) -> tuple[list[str], frozenset[str]]:
        """Lock the rows of the person.

        Args:
            request: with the digest of the name.
            subject: the name, if it is known.

        Returns:
            Their keys, and the values by which the person is known.
        """
        by = [f"{quoted(name)}::text" for name in self._subject.by]
        if subject is None:
            given = [request.id, request.digest]
            same = [f"{digest('%s::text', each)} = %s" for each in by]
        else:
            given, same = (
                [subject],
                [f"lower(btrim({each})) = lower(btrim(%s::text))" for each in by],
            )
        where, values = f"({' OR '.join(same)})", given * len(by)
        if request.whose and self._only:
            where, values = f"{where} AND {self._only}", [*values, request.whose]
        found = self._rows(
            f"SELECT {self.key('t')}, {', '.join(by)} FROM {self.table} AS t "
            f"WHERE {where} FOR UPDATE",
            values,
        )
        known = {value.strip() for _, *names in found for value in names if value}
        return [key for key, *_ in found], frozenset(known)

    def erase(self, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Erase these rows, and what refers to them; yields how many of which table."""
        for chain in self._staying:
            yield self._overwritten(chain, keys)
        if not self._subject.delete:
            yield self._overwritten((), keys)
            return
        for chain in self._going:
            yield self._deleted(chain, keys)
        yield self._deleted((), keys)

    def _deleted(self, chain: Chain, keys: Sequence[str]) -> tuple[str, int]:
        *others, (table, name) = self._tables(chain)
        using = ", ".join(f"{each} AS {short}" for each, short in others)
        using = f" USING {using}" if using else ""
        sql = f"DELETE FROM {table} AS {name}{using} WHERE {self._met(chain)}"
        return table, self._count(sql, [list(keys)])

    def _overwritten(self, chain: Chain, keys: Sequence[str]) -> tuple[str, int]:
        *others, (table, name) = self._tables(chain)
        columns = [
            each
            for each in self._columns.get(table, ())
            if self._kinds.get(each.short, {}).get(each.name) in {PERSONAL, FREE_TEXT}
            and not each.follows
        ]
        if not columns:
            return table, 0
        changes = ", ".join(f"{quoted(each.name)} = {each.nothing(name)}" for each in columns)
        using = ", ".join(f"{each} AS {short}" for each, short in others)
        using = f" FROM {using}" if using else ""
        sql = f"UPDATE {table} AS {name} SET {changes}{using} WHERE {self._met(chain)}"
        return table, self._count(sql, [list(keys)])

    def _tables(self, chain: Chain) -> list[tuple[str, str]]:
        tables = [self.table, *(each.table for each in chain)]
        return [(table, f"t{at}") for at, table in enumerate(tables)]

    def _met(self, chain: Chain) -> str:
        return " AND ".join([f"{self.key('t0')} = ANY (%s)", *met(chain)])

    def _count(self, sql: str, values: Sequence[Any]) -> int:
        counted = f"WITH gone AS ({sql} RETURNING 1) SELECT count(*) FROM gone"
        return int(self._rows(counted, values)[0][0])
