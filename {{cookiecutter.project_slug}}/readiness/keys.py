"""Unique keys beside the one by which a row is inserted once."""

import re
from collections.abc import AsyncIterator, Iterable

from acme_orders.chassis.database.statements import Statement

from readiness.rehearsal import Rehearsal

_ONCE = re.compile(r'INSERT INTO "?(\w+)"?.*\bON CONFLICT \(([^)]+)\) DO NOTHING', re.DOTALL)
_UNIQUE = """
SELECT array_agg(quote_ident(attname) ORDER BY attname) FROM pg_index
    JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey::smallint[])
WHERE indrelid = to_regclass(%s) AND indisunique AND indpred IS NULL AND indexprs IS NULL
GROUP BY indexrelid
"""


async def second_keys(
    one: Rehearsal, other: Rehearsal, statements: Iterable[Statement]
) -> AsyncIterator[str]:
    """Keys that refuse a row whose content comes again, though it is inserted once by another.

    Args:
        one: where some content was processed.
        other: where the same content was.
        statements: that were sent for it.
    """
    targets = {
        (found[1], tuple(sorted(re.findall(r"\w+", found[2]))))
        for each in statements
        if (found := _ONCE.match(each.sql))
    }
    for table, key in sorted(targets):
        for (columns,) in await one.rows(_UNIQUE, table):
            names = {each.strip('"') for each in columns}  # some are words of SQL, such as position
            if names <= {*key} or names >= {*key}:
                continue  # a row that one of them refuses, the other one refuses as well
            sql = f"SELECT ({', '.join(columns)})::text FROM {table}"
            both = {*await one.rows(sql)} & {*await other.rows(sql)}
            if both and both - await _given(one, sql):
                yield (
                    f"rows of {table} are inserted once by ({', '.join(key)}), and the message "
                    f"decides about ({', '.join(columns)}), which is unique as well: of two at "
                    "once, one may fail on it. Insert once by that key, or drop the other one"
                )


async def _given(rehearsal: Rehearsal, sql: str) -> set[tuple[str, ...]]:
    """What it answers before any message, of rows that examples need."""
    async with rehearsal.another(whole=False) as fresh:
        return {*await fresh.rows(sql)}
