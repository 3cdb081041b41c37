"""The tables of a sample, as PostgreSQL has them, and what their columns are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.classes import Classes, Kinds
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.closure import Reference

# What the machinery of one database knows about itself, or about who was erased there.
LEFT_OUT = (
    *("schema_migrations", "backfill_run", "backfill_event"),
    *("retention_run", "erasure_request", "legal_hold"),
)
_COLUMNS = """
SELECT pg_class.oid::bigint, format('%%I.%%I', nspname, relname), relname::text, attname::text,
    coalesce(base.typname, element.typname, type.typname)::text,
    coalesce(base.typcategory, element.typcategory, type.typcategory)::text,
    format_type(atttypid, atttypmod), NOT attnotnull,
    coalesce((SELECT array_position(indkey::smallint[], attnum) + 1 FROM pg_index
        WHERE indrelid = pg_class.oid AND indisprimary), 0)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type AS type ON type.oid = atttypid
    LEFT JOIN pg_type AS element ON type.typcategory = 'A' AND element.oid = type.typelem
    LEFT JOIN pg_type AS base ON base.oid = coalesce(element.typbasetype, type.typbasetype)
WHERE nspname = %s AND relname <> ALL (%s) AND relkind IN ('r', 'p') AND NOT relispartition
    AND attgenerated = ''
ORDER BY relname, attnum
"""
_CHECKS = """
SELECT conname::text, pg_get_expr(conbin, conrelid) FROM pg_constraint
WHERE contype = 'c' AND conrelid = %s ORDER BY 1
"""
_TEXTLESS = "NBDTEGVR"  # categories of pg_type: numbers, times, ranges, …


class Column(NamedTuple):
    """A column.

    Args:
        name: of it.
        base: its type, or that of the elements of a list; of a domain the type below it.
        category: of `base`, as pg_type has it.
        type: as SQL writes it.
        nullable: it may have no value.
        place: in the primary key, from 1; 0 if it is no part of it.
    """

    name: str
    base: str
    category: str
    type: str
    nullable: bool
    place: int

    @property
    def textual(self) -> bool:
        """It has texts, documents or bytes."""
        return self.category not in _TEXTLESS and self.base != "uuid"


@dataclass(frozen=True)
class Sampled:
    """A table.

    Args:
        oid: of it.
        name: with its schema, as SQL writes it.
        short: without.
        columns: those that have values of their own, in the order of the table.
        checks: the conditions of its rows, by name.
    """

    oid: int
    name: str
    short: str
    columns: Sequence[Column]
    checks: Mapping[str, str]

    @property
    def key(self) -> list[Column]:
        """The columns of its primary key.

        Raises:
            ConfigurationError: it has none.
        """
        found = sorted((each for each in self.columns if each.place), key=lambda each: each.place)
        if not found:
            raise ConfigurationError(
                f"{self.name} has no primary key, by which rows are taken: ADD PRIMARY KEY (…)"
            )
        return found


def tables_in(rows: Rows, place: str) -> Iterator[Sampled]:
    """Those of a schema, in the order of their names."""
    found = dict[tuple[int, str, str], list[Column]]()
    for oid, name, short, *column in rows(_COLUMNS, (place, list(LEFT_OUT))):
        found.setdefault((oid, name, short), []).append(Column(*column))
    for (oid, name, short), columns in found.items():
        yield Sampled(oid, name, short, columns, dict(rows(_CHECKS, (oid,))))


def kinds_of(
    rows: Rows,
    tables: Sequence[Sampled],
    keys: Sequence[Reference],
    said: Kinds,
    known: Sequence[Classes],
) -> Mapping[int, Mapping[str, str]]:
    """What each column is; one that refers to another is what that one is.

    Raises:
        ConfigurationError: nobody has said it of some that have rows; names them and the lines to
            write.
    """
    kinds = {table.oid: dict(said.get(table.short, {})) for table in tables}
    for _ in range(len(keys) + 1):
        for key in keys:
            for column, referred in zip(key.columns, key.referred, strict=True):
                if kind := kinds.get(key.parent, {}).get(referred):
                    kinds.setdefault(key.child, {})[column] = kind
    follows = {(key.child, column) for key in keys for column in key.columns}
    problems, lines = list[str](), {each.table: each.line for each in known}
    for each in tables:
        open_ = [
            column
            for column in each.columns
            if column.textual
            and column.name not in kinds[each.oid]
            and (each.oid, column.name) not in follows
        ]
        if open_ and rows(f"SELECT EXISTS (SELECT FROM {each.name})")[0][0]:
            listed = ", ".join(f"{column.name} ({column.type})" for column in open_)
            helps = f"no model has the table {each.short}: write one, with its columns classified"
            if each.short in lines:
                helps = lines[each.short](column.name for column in open_)
            problems.append(
                f"nobody has said whether {each.name} has personal data in {listed}: {helps}"
            )
    if problems:
        raise ConfigurationError("\n".join(dict.fromkeys(problems)))
    return kinds
