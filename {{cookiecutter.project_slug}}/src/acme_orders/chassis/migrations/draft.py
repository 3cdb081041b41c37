"""Drafts migrations: what the models say and the schema lacks, and the way back.

What is done to a table in use is done in the safe form, in as many files as that takes. Files of
`phase: contract` come last: they wait for a release.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import peewee
from peewee_async.utils import sort_models

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.changes import (
    CHANGES,
    NOTES,
    is_left,
    under_old_name,
    undone,
)
from acme_orders.chassis.migrations.ddl import table_sql
from acme_orders.chassis.migrations.drift import Drift
from acme_orders.chassis.migrations.kinds import is_alone
from acme_orders.chassis.migrations.recipes import CONTRACT, Part


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
    kinds = list(CHANGES)
    dropped.sort(key=lambda each: kinds.index(each.kind), reverse=True)
    changed.sort(key=lambda each: kinds.index(each.kind))
    parts = [(each.table, part) for each in dropped for part in undone(each)]
    parts += [("", part) for part in _new_tables(differences, models)]
    parts += [
        (each.table, part)
        for each in changed
        for part in (under_old_name(each, changed) or CHANGES[each.kind](each))
    ]
    now = [each for each in parts if not _waits(*each, parts)]
    later = [each for each in parts if _waits(*each, parts)]
    notes = [f"{each}: {NOTES[each.kind]}" for each in differences if is_left(each)]
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
