"""R2: which columns have personal data."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.erasure.classes import (
    NOT_PERSONAL,
    PERSONAL,
    Classes,
    classes_of,
    models_beside,
)
from acme_orders.chassis.erasure.columns import Column, columns_in
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered, schemas

from readiness.check import Check
from readiness.observed import observed
from readiness.rehearsal import Rehearsal

# What a column with the data of a person is called, whatever comes before it.
_SAYS_SO = re.compile(
    r"(?:^|_)(?:e_?mail(?:_address)?|(?:phone|mobile|passport)(?:_number)?|iban|ssn|"
    r"birth_?da(?:y|te)|date_of_birth|(?:first|last|family|given|sur)_?name)$"
)


class PersonalDataIsNamed(Check):
    """Each column with texts, documents or bytes says whether it has personal data."""

    id = "R2"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Say in the Meta of the model which columns are personal, free_text or not_personal.

        personal: the data of a person. free_text: it may have some, such as a note or JSON.
        not_personal: it never has any. A column that refers to another one is what that one is.
        A table with the data of people is that of a Subject in slice.py, or refers to one. The
        log has ids of people, and no data of theirs.
        See docs/erasure.md.
        """
        slices = rehearsal.service.slices
        models = models_beside(each for one in slices for each in one.repositories)
        known = [classes_of(each) for each in models]
        columns = await asyncio.to_thread(_columns, rehearsal.url)
        self.inspected = len(columns)
        for finding in findings(known, columns):
            yield finding
        found = frozenset(subject.name for one in slices for subject in one.subjects)
        for model in models:
            for finding in nobody_finds(model, found):
                yield finding
        for finding in (await observed(rehearsal)).logged:
            yield finding


def findings(known: Sequence[Classes], columns: Sequence[Column]) -> Iterator[str]:
    """What is wrong with what the models say, and what they do not say."""
    for each in known:
        yield from each.problems
        for name, kind in each.kinds.items():
            if kind == NOT_PERSONAL and _SAYS_SO.search(name):
                yield (
                    f"{each.table}.{name} is not_personal, and its name says that it has the data "
                    f'of a person: write personal = ("{name}",)'
                )
        of_it = {column.name for column in columns if column.short == each.table}
        open_ = _open(columns, {each.table: each.kinds})
        names = [column.name for column in open_]
        if names and of_it:
            listed = ", ".join(f"{column.name} ({column.type})" for column in open_)
            yield f"nobody has said whether {each.table} has personal data in {listed}: " + (
                each.line(names)
            )
    for column in _open(columns, OWN):
        yield f"{column.table}.{column.name} of the chassis has no class in erasure/own.py"


def nobody_finds(model: type[Table], subjects: frozenset[str]) -> Iterator[str]:
    """What is wrong if it has the data of people whom no `Subject` finds."""
    known = classes_of(model)
    personal = [name for name, kind in known.kinds.items() if kind == PERSONAL]
    if personal and not subjects & _above(model):
        yield (
            f"{known.table} has the data of people in {', '.join(personal)}, and neither a legal "
            "hold nor a request after a restore would find them: write "
            f'subjects=(Subject("{known.table}", by=("{personal[0]}",)),) in slice.py, or refer to '
            "a table that has one"
        )


def _above(model: type[Table]) -> set[str]:
    """The names of its table and of all that it refers to, at any depth."""
    found, open_ = set[str](), [model]
    while open_:
        meta: Any = open_.pop()._meta  # noqa: SLF001
        if meta.table_name not in found:
            found.add(meta.table_name)
            open_ += meta.refs.values()
    return found


def _open(columns: Sequence[Column], kinds: Mapping[str, Mapping[str, str]]) -> list[Column]:
    return [
        each
        for each in columns
        if each.short in kinds and not each.follows and each.name not in kinds[each.short]
    ]


def _columns(url: str) -> list[Column]:
    with (
        backfill_session(url) as session,
        session.transaction(entered(SHARED), Limits(), statement=0),
    ):
        rows = session.rows
        found = [each for place in schemas(rows) for each in columns_in(rows, place)]
    return list({(each.short, each.name): each for each in found}.values())
