"""The rows that a message is about: an index finds them by its values; and what they refer to."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.reproduce.trial import Value
from acme_orders.chassis.retention.target import quoted
from acme_orders.chassis.sample.choice import Key
from acme_orders.chassis.sample.part import Part
from acme_orders.chassis.sample.tables import Column, Sampled

MOST = 20  # rows of a table with one value; a value of more says nothing about this message
_WHOLE = {"int2": 15, "int4": 31, "int8": 63}  # bits
_INDEXES = """
SELECT indrelid::bigint, indexrelid::bigint, attname::text
FROM pg_index CROSS JOIN LATERAL unnest(indkey::smallint[]) WITH ORDINALITY AS part (number, place)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = number
WHERE indisvalid AND indpred IS NULL AND indrelid::bigint = ANY (%s::bigint[]) ORDER BY 2, place
"""


class Relevant:
    """Looks for rows; each search is one by an index.

    Args:
        rows: runs SQL.
        tables: in which rows may be.
        values: of the message, and of the statements that it led to.
    """

    def __init__(self, rows: Rows, tables: Sequence[Sampled], values: Collection[Value]) -> None:
        self._rows, self._values = rows, values
        self._indexes = dict[int, dict[int, list[str]]]()
        for table, index, column in rows(_INDEXES, ([each.oid for each in tables],)):
            self._indexes.setdefault(table, {}).setdefault(index, []).append(column)

    def keys(self, table: Sampled, part: Part) -> set[Key]:
        """Of the rows that have one of the values in a column by which an index finds them."""
        found = set[Key]()
        if not any(each.place for each in table.columns):
            return found  # nothing tells its rows apart
        for column in table.columns:
            if column.name in self._searched(table, part):
                for value in self._fitting(column):
                    some = self._rows(*self._search(table, part, column, value))
                    found |= {tuple(row) for row in some if len(some) <= MOST}
        return found

    def _searched(self, table: Sampled, part: Part) -> set[str]:
        """The columns that indexes begin with, behind that of the owner."""
        indexes = self._indexes.get(table.oid, {}).values()
        return {name for each in indexes for name in [n for n in each if n != part.column][:1]}

    def _fitting(self, column: Column) -> Iterator[str]:
        if column.base == "uuid":
            yield from {str(found) for each in self._values if (found := _uuid(each))}
        elif bits := _WHOLE.get(column.base):
            whole = (each for each in self._values if isinstance(each, int))
            yield from (str(each) for each in whole if abs(each) >> bits == 0)
        elif column.category == "S":
            texts = (str(each) for each in self._values)
            yield from {each for each in texts if each and "\0" not in each}

    @staticmethod
    def _search(
        table: Sampled, part: Part, column: Column, value: str
    ) -> tuple[str, Sequence[Any]]:
        kinds: Mapping[str, str] = {each.name: each.type for each in table.columns}
        asked = {column.name: value, **({part.column: part.value} if part.column else {})}
        # As a text of any length: a cast to varchar(3) would find what has the same beginning.
        given = {name: "text" if kind.startswith("char") else kind for name, kind in kinds.items()}
        where = " AND ".join(f"{quoted(name)} = %s::{given[name]}" for name in asked)
        key = ", ".join(f"{quoted(each.name)}::text" for each in table.key)
        sql = f"SELECT {key} FROM {table.name} WHERE {where} LIMIT {MOST + 1}"
        return sql, list(asked.values())


def _uuid(value: Value) -> UUID | None:
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        return None
