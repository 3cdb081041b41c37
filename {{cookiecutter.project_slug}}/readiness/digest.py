"""What the rows of each table add up to, so that a change of any value is seen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COLUMNS = """
SELECT attrelid::regclass::text, array_agg(attname::text ORDER BY attname)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped
    AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND relname <> 'schema_migrations'
GROUP BY attrelid
"""


@dataclass(frozen=True, slots=True)
class Digest:
    """Of the rows of a table, in whatever order.

    Args:
        rows: how many there are.
        whole: of the rows; it also changes where the values of two rows are exchanged.
        columns: of each column.
    """

    rows: int
    whole: int
    columns: Mapping[str, int]


def digests(cursor: Any) -> dict[str, Digest]:
    """Those of each table but the history of migrations.

    Args:
        cursor: that sees all rows.
    """
    cursor.execute(_COLUMNS)
    return {table: _digest(cursor, table, columns) for table, columns in cursor.fetchall()}


def _digest(cursor: Any, table: str, columns: Sequence[str]) -> Digest:
    quoted = ['"' + each.replace('"', '""') + '"' for each in columns]
    # With the name of each column: another order of them is no other row.
    sums = ", ".join(
        f"coalesce(sum(hashtextextended({value}, 0)::numeric), 0)"
        for value in (f"ROW({', '.join(quoted)})::text", *(f"{each}::text" for each in quoted))
    )
    cursor.execute(f"SELECT count(*), {sums} FROM {table}")
    ((rows, whole, *each),) = cursor.fetchall()
    return Digest(rows, int(whole), dict(zip(columns, map(int, each), strict=True)))


def lost(before: Mapping[str, Digest], after: Mapping[str, Digest]) -> Iterator[tuple[str, str]]:
    """Each table or column whose rows are not what they were, and what became of them."""
    for table, was in before.items():
        now = after.get(table)
        if now is None:
            yield table, "the table is gone"
        elif now.rows != was.rows:
            yield table, f"{now.rows} rows instead of {was.rows}"
        else:
            changed = [name for name, sum_ in was.columns.items() if now.columns.get(name) != sum_]
            yield from ((f"{table}.{name}", "other values") for name in changed)
            if not changed and now.whole != was.whole:
                yield table, "values of some rows stand in others"
