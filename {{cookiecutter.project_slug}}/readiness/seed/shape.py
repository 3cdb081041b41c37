"""What PostgreSQL's catalogue says of a table that rows are made for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

TENANT = "tenant_id"
_COLUMNS = """
SELECT attname::text, format_type(atttypid, atttypmod),
    CASE WHEN typtype = 'd' THEN 'X' ELSE typcategory::text END, NOT attnotnull,
    attidentity = 'a' OR attgenerated <> '',
    EXISTS (SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique
        AND attnum = ANY (indkey::smallint[])),
    pg_get_expr(adbin, adrelid)
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_REFERENCES = """
SELECT confrelid::regclass::text,
    ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k(num, n)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = num ORDER BY n),
    ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k(num, n)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = num ORDER BY n)
FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f' ORDER BY conname
"""
_CHECKS = """
SELECT pg_get_expr(conbin, conrelid), ARRAY(SELECT attname::text FROM pg_attribute
    WHERE attrelid = conrelid AND attnum = ANY (conkey))
FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        name: of the column.
        type: as PostgreSQL writes it.
        category: of the type, as pg_type has it; that of a domain, whose checks are its own, is X.
        nullable: whether it may be NULL.
        made: whether PostgreSQL itself gives its value.
        unique: whether it is part of a unique key.
        default: SQL for its value where none is given.
    """

    name: str
    type: str
    category: str
    nullable: bool
    made: bool
    unique: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class Parent:
    """A table that others refer to: `columns` are those of the child and what they refer to."""

    table: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a row of a table has to be like.

    Args:
        table: as SQL names it.
        columns: those that PostgreSQL does not fill in itself.
        checks: each condition, with the columns that it is about.
        parents: what its foreign keys refer to.
    """

    table: str
    columns: Sequence[Column]
    checks: Sequence[tuple[str, Sequence[str]]]
    parents: Sequence[Parent]

    @classmethod
    def of(cls, cursor: Any, table: str) -> Self:
        """Read it from the catalogue."""
        cursor.execute(_COLUMNS, (table,))
        columns = [column for row in cursor.fetchall() if not (column := Column(*row)).made]
        cursor.execute(_CHECKS, (table,))
        checks = cursor.fetchall()
        cursor.execute(_REFERENCES, (table,))
        parents = [
            Parent(there, dict(zip(own, referred, strict=True)))
            for there, own, referred in cursor.fetchall()
        ]
        return cls(table, columns, checks, parents)
