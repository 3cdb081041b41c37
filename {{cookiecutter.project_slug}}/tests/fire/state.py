"""What a run leaves behind: the rows of the tables, and the events that were published."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from readiness.scratch import session

# Of the chassis: they tell how it was done, not what.
_CHASSIS = ("inbox", "outbox", "dead_letters", "schema_migrations", "tenants")
_COLUMNS = """
SELECT relname::text, attname::text
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped
    AND pg_table_is_visible(pg_class.oid) AND relnamespace::regnamespace::text !~ '^pg_'
    AND relname <> ALL (%s)
"""
Row = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class State:
    """The rows of each table, each event by its type, and the messages that were set aside."""

    rows: Mapping[str, list[Row]]
    dead: Counter[str]

    def changing(self, other: "State") -> set[tuple[str, str]]:
        """Columns whose values differ between two calm runs: ids and times of the service's own."""
        return {
            (table, column)
            for table in self.rows.keys() & other.rows.keys()
            for column in {name for row in (*self.rows[table], *other.rows[table]) for name in row}
            if Counter(row.get(column) for row in self.rows[table])
            != Counter(row.get(column) for row in other.rows[table])
        }

    def differences(self, calm: "State", changing: set[tuple[str, str]]) -> list[str]:
        """What is other than after a calm run, in words."""
        found = []
        for table in sorted(self.rows.keys() | calm.rows.keys()):
            mine, others = (_counted(each, table, changing) for each in (self, calm))
            found += [f"{table}: {n} x too many {row}" for row, n in (mine - others).items()]
            found += [f"{table}: {n} x missing {row}" for row, n in (others - mine).items()]
        dead = [f"{n} x {what}" for what, n in (self.dead - calm.dead).items()]
        return found + [f"dead letter: {each}" for each in dead]


def _counted(state: State, table: str, changing: set[tuple[str, str]]) -> Counter[str]:
    return Counter(
        ", ".join(
            f"{name}={value}"
            for name, value in sorted(row.items())
            if (table, name) not in changing
        )
        for row in state.rows.get(table, [])
    )


def state_of(url: str, events: list[tuple[str, str, bytes]]) -> State:
    """What is committed in a database, and what a listener has received.

    Args:
        url: of the database.
        events: id, type and body of each; two with one id are one.
    """
    with session(url) as cursor:
        cursor.execute(_COLUMNS, (list(_CHASSIS),))
        tables: dict[str, list[str]] = {}
        for table, column in cursor.fetchall():
            tables.setdefault(table, []).append(column)
        rows: dict[str, list[Row]] = {}
        for table, columns in tables.items():
            texts = ", ".join(f'"{column}"::text' for column in columns)
            cursor.execute(f'SELECT {texts} FROM "{table}"')
            rows[table] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        cursor.execute(
            "SELECT concat_ws(' ', type, reason, error_type, error_message) FROM dead_letters"
        )
        dead = Counter(text for (text,) in cursor.fetchall())
    for type_, body in {identity: (type_, body) for identity, type_, body in events}.values():
        rows.setdefault(f"event {type_}", []).append(_flat(json.loads(body)))
    return State(rows, dead)


def _flat(value: Any, path: str = "") -> dict[str, str | None]:
    if isinstance(value, dict):
        return {
            name: text
            for key, each in value.items()
            for name, text in _flat(each, f"{path}.{key}").items()
        }
    return {path.lstrip(".") or "body": json.dumps(value)}
