"""A rehearsal on many rows, among which are those that examples lead to."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.table import Table
from acme_orders.chassis.erasure.classes import models_beside
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.catalog import tables_of
from readiness.rehearsal import Rehearsal
from readiness.scratch import session
from readiness.seed.fill import fill
from readiness.two_tenants import TENANT  # feature: row, rls, schema

ROWS = 20_000  # in each table that grows
Sent = tuple[str, Sequence[Statement]]  # for one message or request: its type or route


def growing(rehearsal: Rehearsal, *, small: bool = False) -> set[str]:
    """Tables of the slices that get more rows with time, or those that do not.

    These say why in the Meta of their model: `small = "the countries of the world"`.
    """
    return {each._meta.table_name for each in models_of(rehearsal, small=small)}  # noqa: SLF001


def models_of(rehearsal: Rehearsal, *, small: bool = False) -> list[type[Table]]:
    """The models of these tables, in the order of their names."""
    repositories = (each for one in rehearsal.service.slices for each in one.repositories)
    return [
        model
        for model in models_beside(repositories)
        if bool(getattr(model._meta, "small", "")) is small  # noqa: SLF001
    ]


async def seed(rehearsal: Rehearsal) -> Sequence[Sent]:
    """Let handlers and writes leave what their examples lead to, and more rows like these.

    Returns:
        What the handlers have sent.
    """
    sent = await rehearse_handlers(rehearsal)
    for repository, query, method in rehearsal.queries():
        if query.writes:
            work_for(None if repository.across_tenants else TENANT)  # feature: row, rls, schema
            with suppress(Exception):  # K3 and K4 tell of those that fail
                async with rehearsal.service.manager.transaction("readiness"):
                    await getattr(repository, method)(**query.example)
    await asyncio.to_thread(_fill, rehearsal.url, growing(rehearsal))
    return sent


async def rehearse_handlers(rehearsal: Rehearsal) -> Sequence[Sent]:
    """Send every handler all its examples; returns the statements that each message led to."""
    sent: list[Sent] = []
    for type_, handler in rehearsal.service.handlers.items():
        with suppress(LookupError):  # K3 tells of a payload without an example
            for number, example in enumerate(handler.payload.examples()):
                letter = rehearsal.letter(type_, f"seed-{type_}-{number}", example=example)
                seen = len(rehearsal.statements)
                await rehearsal.service.consumer.process([letter])
                new = rehearsal.statements[seen:]
                sent.append((type_, [each for each in new if each.unit_of_work == "consume"]))
    return sent


def _fill(url: str, tables: set[str]) -> None:
    with session(url) as cursor:
        list(fill(cursor, ROWS, small=tables_of(url) - tables, alike=True))
