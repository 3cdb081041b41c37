"""The columns in which data of a person may stand, as PostgreSQL has them."""

from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows

# Numbers, times and ids are not read as texts; whatever else there is may contain one.
_COLUMNS = """
SELECT relname::text, format('%%I.%%I', nspname, relname), relkind = 'm', attname::text,
    format_type(atttypid, atttypmod), NOT attnotnull,
    CASE WHEN relkind = 'm' OR attgenerated <> '' OR EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND contype = 'f'
            AND attnum = ANY (conkey)
    ) THEN true ELSE false END
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type AS type ON type.oid = atttypid
    LEFT JOIN pg_type AS element ON type.typcategory = 'A' AND element.oid = type.typelem
WHERE nspname = %s AND relkind IN ('r', 'p', 'm') AND NOT relispartition
    AND coalesce(element.typcategory, type.typcategory) NOT IN ('N','B','D','T','E','G','V','R')
    AND coalesce(element.typname, type.typname) <> 'uuid'
ORDER BY relname, attnum
"""


class Column(NamedTuple):
    """A column with texts, documents or bytes.

    Args:
        short: name of its table.
        table: the same with its schema, as SQL writes it.
        view: it is a materialized view, which nobody writes.
        name: of the column.
        type: as PostgreSQL writes it.
        nullable: it may have no value.
        follows: it has what another column has: one that it refers to, or is made of.
    """

    short: str
    table: str
    view: bool
    name: str
    type: str
    nullable: bool
    follows: bool


def columns_in(rows: Rows, schema: str) -> list[Column]:
    """Those of all tables in this schema."""
    return [Column(*row) for row in rows(_COLUMNS, (schema,))]
