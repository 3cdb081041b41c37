"""R2: which columns have personal data."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.erasure.classes import (
    Classes,
    classes_of,
    models_beside,
)
from acme_orders.chassis.erasure.columns import Column, columns_in
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.places import entered, schemas

from readiness.check import Check
from readiness.rehearsal import Rehearsal


class PersonalDataIsNamed(Check):
    """Each column with texts, documents or bytes says whether it has personal data."""

    id = "R2"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Say in the Meta of the model which columns are personal, free_text or not_personal.

        personal: the data of a person. free_text: it may have some, such as a note or JSON.
        not_personal: it never has any. A column that refers to another one is what that one is.
        See docs/erasure.md.
        """
        repositories = [each for one in rehearsal.service.slices for each in one.repositories]
        known = [classes_of(each) for each in models_beside(repositories)]
        columns = await asyncio.to_thread(_columns, rehearsal.url)
        self.inspected = len(columns)
        for finding in findings(known, columns):
            yield finding


def findings(known: Sequence[Classes], columns: Sequence[Column]) -> Iterator[str]:
    """What is wrong with what the models say, and what they do not say."""
    for each in known:
        yield from each.problems
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
