"""The rows of a backfill, a portion at a time."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from acme_orders.chassis.backfills.backfill import Backfill
from acme_orders.chassis.backfills.session import BackfillSession
from acme_orders.chassis.errors import ConfigurationError

Key = list[str]

_TABLE = """
SELECT format('%%I.%%I', nspname, relname), array_agg(attname::text),
    array_agg(format_type(atttypid, atttypmod))
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE pg_class.oid = to_regclass(%s) AND relkind IN ('r', 'p') GROUP BY 1
"""
_UNIQUE = """
SELECT array_agg(attname::text ORDER BY place), bool_and(attnotnull) FROM pg_index
    CROSS JOIN unnest(indkey::smallint[]) WITH ORDINALITY AS part (number, place)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = number
WHERE indrelid = to_regclass(%s) AND indisunique AND indisvalid AND indimmediate
    AND indpred IS NULL AND indexprs IS NULL AND place <= indnkeyatts
GROUP BY indexrelid
"""


@dataclass(frozen=True)
class Portion:
    """What one transaction has gone through: so many rows, up to this key."""

    rows: int
    end: Key


class Rows:
    """The rows of the table that one schema has.

    Args:
        session: whose transaction is open.
        backfill: what becomes of them.
        table: with its schema, as PostgreSQL writes it.
        types: of the columns.
    """

    def __init__(
        self, session: BackfillSession, backfill: Backfill, table: str, types: dict[str, str]
    ) -> None:
        self._session, self._backfill, self._table = session, backfill, table
        self._names = [_quoted(name) for name in backfill.key]
        self._keys = ", ".join(self._names)
        self._texts = ", ".join(f"{name}::text" for name in self._names)
        # By the columns, whose order is not that of the texts, which have their names.
        self._last = ", ".join(f"rows.{name} DESC" for name in self._names)
        # Compared as a row: one range of the index, wherever in the table the portion is.
        self._given = f"({', '.join(f'%s::{types[name]}' for name in backfill.key)})"
        self._where = backfill.where.replace("%", "%%")

    @classmethod
    def of(cls, session: BackfillSession, backfill: Backfill) -> Self:
        """Look at the table.

        Raises:
            ConfigurationError: there is none, it lacks a column, or the key is not that of a
                unique index.
        """
        looked = session.rows(_TABLE, (backfill.table,))
        if not looked:
            raise ConfigurationError(
                f"there is no table {backfill.table}: `migrate up` makes it, or `table` names "
                "another one"
            )
        ((table, names, kinds),) = looked
        types = dict(zip(names, kinds, strict=True))
        unique = session.rows(_UNIQUE, (backfill.table,))
        if missing := [each for each in (*backfill.key, *backfill.columns) if each not in types]:
            raise ConfigurationError(f"{table} has no column {', '.join(missing)}")
        if (list(backfill.key), True) not in unique:
            keys = [f"({', '.join(columns)})" for columns, filled in unique if filled]
            raise ConfigurationError(
                f"the key ({', '.join(backfill.key)}) of {table} is that of no unique index, in "
                "this order and without NULL, so rows would be skipped and portions would get "
                f"slower: take {' or '.join(keys) or 'a column that has one'}"
            )
        return cls(session, backfill, table, types)

    @property
    def table(self) -> str:
        """With its schema."""
        return self._table

    def last(self) -> Key | None:
        """The key of the last row; what comes after it is written right by others."""
        found = self._session.rows(
            f"SELECT {self._texts} FROM {self._table} AS rows ORDER BY {self._last} LIMIT 1"
        )
        return list(found[0]) if found else None

    def estimate(self) -> int:
        """How many rows there are, as the planner thinks."""
        ((plan,),) = self._session.rows(f"EXPLAIN (FORMAT JSON) SELECT FROM {self._table}")
        return int((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]["Plan Rows"])

    def ahead(self, cursor: Key | None, upper: Key, size: int) -> Portion | None:
        """The next portion; None if there is no row left."""
        condition, values = self._between(cursor, upper)
        found = self._session.rows(
            f"WITH ahead AS (SELECT {self._keys} FROM {self._table} WHERE {condition} "
            f"ORDER BY {self._keys} LIMIT %s) "
            f"SELECT (SELECT count(*) FROM ahead), {self._texts} FROM ahead AS rows "
            f"ORDER BY {self._last} LIMIT 1",
            (*values, size),
        )
        return Portion(found[0][0], list(found[0][1:])) if found else None

    def change(self, cursor: Key | None, end: Key) -> None:
        """Change those that need it, in the order of their keys, as everybody should lock them."""
        condition, values = self._between(cursor, end)
        needed = f"FROM {self._table} WHERE {condition} AND ({self._where})"
        locked = f"{needed} ORDER BY {self._keys} FOR UPDATE"
        if self._backfill.set:
            self._session.rows(f"SELECT count(*) FROM (SELECT 1 {locked}) AS locked", values)
            change = self._backfill.set.replace("%", "%%")
            self._session.rows(
                f"UPDATE {self._table} SET {change} WHERE {condition} AND ({self._where})", values
            )
            return
        columns = ", ".join([*self._names, *map(_quoted, self._backfill.columns)])
        rows = self._session.records(f"SELECT {columns} {locked}", values)
        if rows:
            self._store(rows, list(self._backfill.process([dict(row) for row in rows])))

    def _store(self, rows: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> None:
        key = self._backfill.key
        known = {tuple(row[name] for name in key) for row in rows}
        columns = [name for name in (changed[0] if changed else ()) if name not in key]
        for row in changed:
            if tuple(row.get(name) for name in key) not in known or row.keys() != {*key, *columns}:
                raise ValueError("process returned a row that it was not given, or other columns")
        if columns:
            new = ", ".join(f"{_quoted(name)} = new.{_quoted(name)}" for name in columns)
            same = " AND ".join(f"old.{name} = new.{name}" for name in self._names)
            self._session.rows(
                f"UPDATE {self._table} AS old SET {new} "
                f"FROM json_populate_recordset(NULL::{self._table}, %s::json) AS new WHERE {same}",
                (json.dumps(list(changed), default=_text),),
            )

    def _between(self, cursor: Key | None, end: Key) -> tuple[str, Key]:
        upto = f"({self._keys}) <= {self._given}"
        if cursor is None:
            return upto, end
        return f"({self._keys}) > {self._given} AND {upto}", [*cursor, *end]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    return list(value) if isinstance(value, Iterable) else str(value)
