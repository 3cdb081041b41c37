"""Drafts the SQL of a migration: what the models say and the schema lacks, and the way back.

A draft is read before it is applied. What would lose data stands in a comment: whoever takes it out
of there has decided about the data.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import peewee
from peewee_async.utils import sort_models

from acme_orders.chassis.migrations.ddl import quoted, table_sql
from acme_orders.chassis.migrations.drift import Drift

_ENDINGS = {"check": "check", "foreign key": "fkey", "exclusion": "excl"}


@dataclass(frozen=True, slots=True)
class Step:
    """One change and its way back; empty where there is nothing to do."""

    up: str
    down: str


def draft(differences: Sequence[Drift], models: Sequence[type[peewee.Model]]) -> Step | None:
    """The content of both files that bring the schema to the models; None: nothing differs."""
    # In an order that works: what refers to a key goes before it, and comes after it.
    dropped = [each for each in differences if each.model is None and each.drop]
    changed = [each for each in differences if each not in dropped]
    kinds = list(_CHANGES)
    dropped.sort(key=lambda each: kinds.index(each.kind), reverse=True)
    changed.sort(key=lambda each: kinds.index(each.kind))
    steps = [_CHANGES[each.kind](each) for each in dropped]
    steps += _new_tables(differences, models)
    steps += [_CHANGES[each.kind](each) for each in changed]
    steps = [step for step in steps if step.up or step.down]
    if not steps:
        return None
    up = [step.up for step in steps if step.up]
    down = [step.down for step in reversed(steps) if step.down]
    return Step("\n\n".join(up) + "\n", "\n".join(down) + "\n")


def _new_tables(
    differences: Sequence[Drift], models: Sequence[type[peewee.Model]]
) -> Iterator[Step]:
    new = {each.table for each in differences if each.kind == "table" and each.database is None}
    tables = {model: table_sql(model) for model in sort_models(list(models))}
    waiting = [model for model, table in tables.items() if table.name in new]
    references = []
    for number, model in enumerate(waiting):
        table, unmade = tables[model], waiting[number + 1 :]
        later = [each for each in table.references if each.to in unmade]
        references += [f"ALTER TABLE {table.name} ADD {each.sql};" for each in later]
        parts = (table.create(without=later), *table.indexes, *table.policies)
        yield Step("\n".join(parts), f"DROP TABLE {table.name};")
    if references:  # two tables that refer to each other
        yield Step("\n".join(references), "")


def _table(each: Drift) -> Step:
    if each.database is None:
        return Step("", "")  # a new one, with all that belongs to it
    return Step(f"-- No model describes it: DROP TABLE {each.table};", "")


def _column(each: Drift) -> Step:
    column = f"ALTER TABLE {each.table} %s COLUMN {quoted(each.what)}"
    if each.database is None:
        return Step(f"{column % 'ADD'} {each.model};", f"{column % 'DROP'};")
    if each.model is None:
        return Step(
            f"-- With all its values: {column % 'DROP'};",
            f"-- {column % 'ADD'} {each.database};",
        )
    change = f"{column % 'ALTER'} TYPE %s USING {quoted(each.what)}::%s;"
    return Step(change % (each.model, each.model), change % (each.database, each.database))


def _nullability(each: Drift) -> Step:
    column = f"ALTER TABLE {each.table} ALTER COLUMN {quoted(each.what)}"
    there, back = f"{column} SET NOT NULL;", f"{column} DROP NOT NULL;"
    return Step(there, back) if each.model == "NOT NULL" else Step(back, there)


def _default(each: Drift) -> Step:
    column = f"ALTER TABLE {each.table} ALTER COLUMN {quoted(each.what)}"

    def become(value: str | None, other: str | None) -> str:
        if any((text or "").startswith("GENERATED ALWAYS AS (") for text in (value, other)):
            return f"-- A generated column cannot be changed, only made anew: {column}"
        if value is None:
            identity = (other or "").startswith("GENERATED")
            return f"{column} DROP {'IDENTITY' if identity else 'DEFAULT'};"
        return f"{column} {'ADD' if value.startswith('GENERATED') else 'SET DEFAULT'} {value};"

    return Step(become(each.model, each.database), become(each.database, each.model))


def _primary_key(each: Drift) -> Step:
    return _constraint(each, f"PRIMARY KEY {each.what.removeprefix('btree ')}", "pkey")


def _index(each: Drift) -> Step:
    unique = "UNIQUE " if each.kind == "unique index" else ""
    name = _name(each, "key" if unique else "idx")
    make = f"CREATE {unique}INDEX {name} ON {each.table} USING {each.what};"
    return Step(make, f"DROP INDEX {name};") if each.model is not None else Step(each.drop, make)


def _constraint(each: Drift, definition: str = "", ending: str = "") -> Step:
    name = _name(each, ending or _ENDINGS[each.kind])
    make = f"ALTER TABLE {each.table} ADD CONSTRAINT {name} {definition or each.what};"
    drop = f"ALTER TABLE {each.table} DROP CONSTRAINT {name};"
    return Step(make, drop) if each.model is not None else Step(each.drop, make)


def _security(each: Drift) -> Step:
    return Step(f"-- By hand, see docs/tenancy.md: {each}", "")


def _name(each: Drift, ending: str) -> str:
    """A name like those that PostgreSQL chooses: table, columns, kind."""
    inside = re.search(r"\((.*)\)", each.what)
    words = re.findall(r"[a-z_][a-z0-9_]*", inside[1] if inside else each.what)
    return quoted("_".join([_plain(each.table), *words])[: 62 - len(ending)] + f"_{ending}")


def _plain(table: str) -> str:
    return table.rpartition(".")[2].strip('"')


_CHANGES: dict[str, Callable[[Drift], Step]] = {
    "table": _table,
    "column": _column,
    "nullability": _nullability,
    "default": _default,
    "primary key": _primary_key,
    "unique index": _index,
    "check": _constraint,
    "exclusion": _constraint,
    "foreign key": _constraint,
    "index": _index,
    "row-level security": _security,
    "policy": _security,
}
