"""The columns in which data of a person may stand, as PostgreSQL has them."""

import re
from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.target import quoted

# Numbers, times and ids are no texts; whatever else there is may contain one.
_COLUMNS = """
SELECT relname::text, format('%%I.%%I', nspname, relname), relkind = 'm', attname::text,
    format_type(atttypid, atttypmod), NOT attnotnull,
    relkind = 'm' OR attgenerated <> '' OR EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND contype = 'f'
            AND attnum = ANY (conkey)
    ),
    coalesce(element.typcategory, type.typcategory) NOT IN ('N','B','D','T','E','G','V','R')
        AND coalesce(element.typname, type.typname) <> 'uuid'
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type AS type ON type.oid = atttypid
    LEFT JOIN pg_type AS element ON type.typcategory = 'A' AND element.oid = type.typelem
WHERE nspname = %s AND relkind IN ('r', 'p', 'm') AND NOT relispartition
ORDER BY relname, attnum
"""


class Column(NamedTuple):
    """A column.

    Args:
        short: name of its table.
        table: the same with its schema, as SQL writes it.
        view: it is a materialized view, which nobody writes.
        name: of the column.
        type: as PostgreSQL writes it.
        nullable: it may have no value.
        follows: it has what another column has: one that it refers to, or is made of.
        textual: it has texts, documents, bytes or lists of them.
    """

    short: str
    table: str
    view: bool
    name: str
    type: str
    nullable: bool
    follows: bool
    textual: bool

    def text(self) -> str:
        """SQL for all that stands in it."""
        if self.type == "bytea":
            return f"encode({quoted(self.name)}, 'escape')"
        if self.type == "bytea[]":
            return (
                "(SELECT string_agg(encode(part, 'escape'), ' ') "
                f"FROM unnest({quoted(self.name)}) AS part)"
            )
        return f"{quoted(self.name)}::text"

    def nothing(self, table: str) -> str:
        """SQL for what stands there when the data is gone.

        Args:
            table: its name in the statement.

        Raises:
            ConfigurationError: there is nothing that could stand there.
        """
        if self.nullable:
            return "NULL"
        if self.type in {"json", "jsonb"}:
            kind = f"{self.type}_typeof({table}.{quoted(self.name)})"
            forms = "WHEN 'array' THEN '[]' WHEN 'object' THEN '{}' ELSE '\"erased\"'"
            return f"(CASE {kind} {forms} END)::{self.type}"
        if not self.textual:
            raise ConfigurationError(
                f"{self.table}.{self.name} ({self.type}) is personal and cannot be "
                f"empty: ALTER TABLE {self.short} ALTER COLUMN {self.name} DROP NOT NULL"
            )
        if self.type.endswith("[]"):
            return f"'{{}}'::{self.type}"
        if self.type in {"bytea", "hstore"}:
            return f"''::{self.type}"
        longest = re.search(r"\((\d+)\)", self.type)
        value = "'erased-' || gen_random_uuid()"
        value = f"left({value}, {longest[1]})" if longest else f"({value})"
        return f"{value}::{self.type}"


def columns_in(rows: Rows, schema: str) -> list[Column]:
    """Those of all tables in this schema that have texts, documents or bytes."""
    return [each for each in all_columns_in(rows, schema) if each.textual]


def all_columns_in(rows: Rows, schema: str) -> list[Column]:
    """Those of all tables in this schema."""
    return [Column(*row) for row in rows(_COLUMNS, (schema,))]
