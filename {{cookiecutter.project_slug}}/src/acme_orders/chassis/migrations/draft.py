"""Drafts migrations: what the models say and the schema lacks, and the way back.

What is done to a table in use is done in the safe form, in as many files as that takes. Files of
`phase: contract` come last: they wait for a release.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import peewee
from peewee_async.utils import sort_models
from postgast import nodes as ast

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations import recipes
from acme_orders.chassis.migrations.ddl import quoted, table_sql
from acme_orders.chassis.migrations.drift import Drift
from acme_orders.chassis.migrations.kinds import is_alone
from acme_orders.chassis.migrations.recipes import (
    CONTRACT,
    Part,
    Recipe,
    contract,
    short,
)
from acme_orders.chassis.migrations.type_changes import Anew, anew

_ENDINGS = {"check": "check", "foreign key": "fkey", "exclusion": "excl"}
_PLAIN = re.compile(r"btree \(([a-z0-9_]+(?:, [a-z0-9_]+)*)\)")


@dataclass(frozen=True, slots=True)
class Draft:
    """The files of a change, in order, and what is left to whoever reads them."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def draft(
    differences: Sequence[Drift], models: Sequence[type[peewee.Model]], head: tuple[str, ...] = ()
) -> Draft:
    """What brings the schema to the models; `head` is said in each file."""
    # In an order that works: what refers to a key goes before it, and comes after it.
    dropped = [each for each in differences if each.model is None and each.drop]
    changed = [each for each in differences if each not in dropped]
    kinds = list(_CHANGES)
    dropped.sort(key=lambda each: kinds.index(each.kind), reverse=True)
    changed.sort(key=lambda each: kinds.index(each.kind))
    parts = [(each.table, part) for each in dropped for part in _dropped(each)]
    parts += [("", part) for part in _new_tables(differences, models)]
    parts += [
        (each.table, part)
        for each in changed
        for part in (_old_name(each, changed) or _CHANGES[each.kind](each))
    ]
    now = [each for each in parts if not _waits(*each, parts)]
    later = [each for each in parts if _waits(*each, parts)]
    notes = [f"{each}: {_NOTES[each.kind]}" for each in differences if _is_left(each)]
    files = _together([*now, *later])
    return Draft(tuple(replace(each, head=(*each.head, *head)) for each in files), tuple(notes))


def _waits(table: str, part: Part, parts: Sequence[tuple[str, Part]]) -> bool:
    """Whether it has to wait for a release, or for a part of the same table that does."""
    if CONTRACT in part.head:
        return True
    before = parts[: parts.index((table, part))]
    touched = re.findall(r"CONSTRAINT (\S+)|PRIMARY KEY", part.up)
    needs = any(touched) or "PRIMARY KEY" in part.up or "SET NOT NULL" in part.up
    return needs and any(table == of and CONTRACT in each.head for of, each in before)


def _together(parts: Iterable[tuple[str, Part]]) -> Iterator[Part]:
    """One file for what follows each other on one table, and can share a transaction."""
    held: tuple[str, Part] | None = None
    for table, part in parts:
        if held is not None:
            there, last = held
            alike = (there, last.head) == (table, part.head) and not (last.remark and part.remark)
            if alike and not _alone(last) and not _alone(part):
                remark = last.remark or part.remark
                up, down = f"{last.up}\n{part.up}", f"{part.down}\n{last.down}"
                held = table, replace(last, up=up, down=down.strip(), remark=remark)
                continue
            yield last
        held = table, part
    if held is not None:
        yield held[1]


def _alone(part: Part) -> bool:
    return any(is_alone(each.stmt) for each in parse(part.up))


def _new_tables(
    differences: Sequence[Drift], models: Sequence[type[peewee.Model]]
) -> Iterator[Part]:
    new = {each.table for each in differences if each.kind == "table" and each.database is None}
    tables = {model: table_sql(model) for model in sort_models(list(models))}
    waiting = [model for model, table in tables.items() if table.name in new]
    made, references = [], []
    for number, model in enumerate(waiting):
        table, unmade = tables[model], waiting[number + 1 :]
        later = [each for each in table.references if each.to in unmade]
        references += [f"ALTER TABLE {table.name} ADD {each.sql};" for each in later]
        made.append((table, "\n".join((table.create(without=later), *table.indexes))))
    cascade = " CASCADE" if references else ""  # two tables that refer to each other
    for table, sql in made:
        up = "\n".join((sql, *table.policies)) + "\n"
        yield Part(up, f"DROP TABLE {table.name}{cascade};")
    if references:
        yield Part("\n".join(references))


def _dropped(each: Drift) -> Recipe:
    """A constraint or an index that no model has."""
    if each.drop.startswith("DROP INDEX"):
        name = each.drop.removeprefix("DROP INDEX ").rstrip(";")
        unique = "UNIQUE " if each.kind == "unique index" else ""
        make = f"CREATE {unique}INDEX CONCURRENTLY {name} ON {each.table} USING {each.what};"
        return (Part(f"DROP INDEX CONCURRENTLY {name};", make),)
    name = each.drop.rpartition(" ")[2].rstrip(";")
    definition = each.what
    if each.kind in {"unique index", "primary key"}:
        kind = "UNIQUE" if each.kind == "unique index" else "PRIMARY KEY"
        definition = f"{kind} {each.what.removeprefix('btree ')}"
    back = f"ALTER TABLE {each.table} ADD CONSTRAINT {name} {definition};"
    if each.kind == "check":
        return (Part(each.drop, back),)
    return (contract(each.drop, back, ""),)


def _old_name(each: Drift, changed: Sequence[Drift]) -> Recipe:
    """A column that goes where one of the same type comes: probably it has another name now."""
    if each.kind == "column" and each.model is None:
        type_ = _only_type(each.database)
        for other in changed:
            new = other.kind == "column" and other.database is None and other.table == each.table
            if new and _only_type(other.model) == type_:
                _, last = recipes.other_column(each.table, each.what, other.what, type_, type_)
                remark = (
                    f"If {other.what} is another name of {each.what}, the release between writes\n"
                    f"both, and the backfill copies the values; otherwise require the release only."
                )
                return (replace(last, remark=remark),)
    return ()


def _only_type(definition: str | None) -> str:
    return re.split(r" (?:NOT NULL|DEFAULT|GENERATED|COLLATE)\b", definition or "")[0]


def _column(each: Drift) -> Recipe:
    name = quoted(each.what)
    column = f"ALTER TABLE {each.table} %s COLUMN {name}"
    if each.database is None:
        (raw,) = parse(f"{column % 'ADD'} {each.model};")
        match raw.stmt:
            case ast.AlterTableStmt(cmds=[ast.AlterTableCmd(def_=definition)]):
                return recipes.new_column(each.table, definition)
    if each.model is None:
        back = f"{column % 'ADD'} {(each.database or '').replace(' NOT NULL', '')};"
        return (contract(f"{column % 'DROP'};", back, f"the values of {each.what} are gone"),)
    old, new = _short_type(each.database or ""), _short_type(each.model or "")
    if anew(old, new) == Anew.NOTHING:
        change = f"{column % 'ALTER'} TYPE %s;"
        return (Part(change % each.model, change % each.database),)
    other = short(each.what, new.partition("(")[0])
    parts = recipes.other_column(
        each.table, each.what, other, each.model or "", each.database or ""
    )
    said = f'The field says column_name="{other}" from now on.\n'
    return (replace(parts[0], remark=said + parts[0].remark), *parts[1:])


def _short_type(type_: str) -> str:
    return type_.replace("character varying", "varchar").replace("integer", "int")


def _nullability(each: Drift) -> Recipe:
    if each.model == "NOT NULL":
        return recipes.not_null(each.table, each.what)
    column = f"ALTER TABLE {each.table} ALTER COLUMN {quoted(each.what)}"
    return (contract(f"{column} DROP NOT NULL;", f"{column} SET NOT NULL;", ""),)


def _default(each: Drift) -> Recipe:
    column = f"ALTER TABLE {each.table} ALTER COLUMN {quoted(each.what)}"

    def become(value: str | None, other: str | None) -> str:
        if value is None:
            identity = (other or "").startswith("GENERATED")
            return f"{column} DROP {'IDENTITY' if identity else 'DEFAULT'};"
        return f"{column} {'ADD' if value.startswith('GENERATED') else 'SET DEFAULT'} {value};"

    if _is_left(each):
        return ()
    there, back = become(each.model, each.database), become(each.database, each.model)
    return (contract(there, back, ""),) if each.model is None else (Part(there, back),)


def _index(each: Drift) -> Recipe:
    unique = "UNIQUE " if each.kind == "unique index" else ""
    name, columns = _name(each, "key" if unique else "idx"), _PLAIN.fullmatch(each.what)
    if unique and columns:
        return recipes.unique(each.table, columns[1].split(", "), name=name)
    make = f"CREATE {unique}INDEX CONCURRENTLY {name} ON {each.table} USING {each.what};"
    return (Part(make, f"DROP INDEX CONCURRENTLY {name};"),)


def _primary_key(each: Drift) -> Recipe:
    columns = _PLAIN.fullmatch(each.what)
    listed = columns[1].split(", ") if columns else []
    return recipes.unique(each.table, listed, name=_name(each, "pkey"), kind="PRIMARY KEY")


def _constraint(each: Drift) -> Recipe:
    if _is_left(each):
        return ()
    return recipes.validated(each.table, _name(each, _ENDINGS[each.kind]), each.what)


def _nothing(_: Drift) -> Recipe:
    return ()


def _is_left(each: Drift) -> bool:
    """Whether it is for somebody's hands."""
    values = (each.model or "", each.database or "")
    generated = any(value.startswith("GENERATED ALWAYS AS (") for value in values)
    return (
        (each.kind == "table" and each.model is None)
        or (each.kind == "default" and generated)
        or (each.kind == "exclusion" and each.database is None)
        or each.kind in {"row-level security", "policy"}
    )


def _name(each: Drift, ending: str) -> str:
    """A name like those that PostgreSQL chooses: table, columns, kind."""
    inside = re.search(r"\((.*)\)", each.what)
    words = re.findall(r"[a-z_][a-z0-9_]*", inside[1] if inside else each.what)
    plain = each.table.rpartition(".")[2].strip('"')
    return "_".join([plain, *words])[: 62 - len(ending)] + f"_{ending}"


_NOTES = {
    "table": "drop it in a file of its own with `phase: contract`, if nothing uses it",
    "default": "a generated column cannot be changed, only made anew",
    "exclusion": "it cannot be made while the table is used; see docs/schema-changes.md",
    "row-level security": "by hand, see docs/tenancy.md",
    "policy": "by hand, see docs/tenancy.md",
}
_CHANGES: dict[str, Callable[[Drift], Recipe]] = {
    "table": _nothing,
    "column": _column,
    "nullability": _nullability,
    "default": _default,
    "primary key": _primary_key,
    "unique index": _index,
    "check": _constraint,
    "exclusion": _constraint,
    "foreign key": _constraint,
    "index": _index,
    "row-level security": _nothing,
    "policy": _nothing,
}
