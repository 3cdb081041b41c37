"""K5: the way back of every migration."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress  # feature: row, rls, schema
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.files import Migration, migrations, text_of
from acme_orders.chassis.migrations.lint.linter import lint
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema

from readiness.catalog import schema_of
from readiness.check import Check
from readiness.digest import digests, lost
from readiness.rehearsal import Rehearsal
from readiness.sample import FILE, on_sample
from readiness.scratch import scratch_database, session
from readiness.seed.fill import empty, fill
from readiness.staging import backfilled, unfit
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_LOSES = re.compile(r"^-- loses: ([^(\n]*[^(\s])\s*\([^)\s][^)\n]*\)\s*$", re.MULTILINE)
_ROWS = 1_000  # in each table
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class MigrationsAreReversible(Check):
    """Migrations are reversible or safely staged."""

    id = "K5"
    migrated = False

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Write a down file that takes back exactly what the up file did, with rows in each table.

        What was in them has to be there again, or the head says `-- loses: table.column (reason)`.
        Begin each up file with `-- reversible: yes`, or with `-- reversible: no (the reason)` if
        its data cannot come back; then it is the last step of a change made in stages.
        A backfill that it requires has a file in backfills/, and a verify query.
        Those that came after tests/sample.jsonl.gz, if there is one, are applied to its rows.
        `migrate lint` shows what to write instead of what a busy database does not survive.
        """
        folder = rehearsal.subject.migrations
        self.inspected = len(migrations(folder))
        try:
            for each in migrations(folder):
                _ = each.header
            refusals = await asyncio.to_thread(lambda: list(lint(folder)))
        except ConfigurationError as error:
            yield str(error)
            return  # nobody knows how the file is meant, so nothing can be said of it
        for refused in refusals:
            if refused.rule != "M2":  # the stairway finds it
                yield str(refused).partition("\n")[0]
        for finding in await asyncio.to_thread(lambda: list(unfit(folder))):
            yield finding
        with scratch_database(rehearsal.subject.settings.session_url) as url:
            for finding in await asyncio.to_thread(lambda: list(stairway(url, folder))):
                yield finding
        if (file := folder.parent / FILE).exists():
            with scratch_database(rehearsal.subject.settings.session_url) as url:
                for finding in await asyncio.to_thread(lambda: list(on_sample(url, folder, file))):
                    yield finding


def stairway(url: str, folder: Path) -> Iterator[str]:
    """One up, one down and up again for each, with rows; none is tried after a broken one."""
    for migration in migrations(folder):
        if migration.header.reversible is None:
            yield f"{migration.up.name} does not begin with `-- reversible: yes` or `no (reason)`"
        reversible = migration.header.reversible is not False
        if reversible and not _COMMENTS.sub("", text_of(migration.down)).strip():
            yield f"{migration.down.name} is empty"
            reversible = False
        _with_tenant(url)  # feature: row, rls, schema
        told = False
        try:
            with session(url) as cursor:
                list(fill(cursor, _ROWS))
            backfilled(url, migration, folder)
            migrator = Migrator(url, folder=folder)
            for finding in _step(url, migrator, migration, reversible=reversible):
                told = True
                yield finding
        except ServiceError as error:
            if not told:  # else it follows from that
                yield str(error)
            return


def _step(url: str, migrator: Migrator, migration: Migration, *, reversible: bool) -> Iterator[str]:
    before = schema_of(url)
    with session(url) as cursor:
        rows = digests(cursor)
    try:
        list(migrator.up(count=1))
    except ConfigurationError:
        # Real rows may be what it takes for granted, and ours are not: without rows it has to work.
        with session(url) as cursor:
            empty(cursor)
            rows = digests(cursor)
        list(migrator.up(count=1))
        for column in _demanding(before, schema_of(url)):
            yield f"{migration.up.name} fails if there are rows: they have no value for {column}"
    if not reversible:
        return
    after = schema_of(url)
    list(migrator.down())
    if different := list(_differences(migration.down, before, schema_of(url))):
        yield from different
    else:
        with session(url) as cursor:
            yield from _losses(migration.down, dict(lost(rows, digests(cursor))))
    list(migrator.up(count=1))
    yield from _differences(migration.up, after, schema_of(url), again=" again")


def _demanding(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Columns that are new in a table that was there, and cannot be empty."""
    for name in sorted(after.keys() - before.keys()):
        kind, _, column = name.partition(" ")
        there = f"relation {column.rpartition('.')[0]}" in before
        if kind == "column" and there and "NOT NULL" in after[name]:
            yield column


def _losses(down: Path, found: Mapping[str, str]) -> Iterator[str]:
    """What rows lose on the way back; whoever says so in the head of the down file may."""
    said = {name for line in _LOSES.findall(text_of(down)) for name in re.split(r",\s*", line)}
    for name, what in found.items():
        if name not in said:
            yield (
                f"{down.name} does not bring back what was in {name} ({what}): keep it, or say "
                f"`-- loses: {name} (the reason)` at its head"
            )
    for name in sorted(said - found.keys()):
        yield f"{down.name} says that {name} is lost, and it is not"


# feature: row, rls, schema {
def _with_tenant(url: str) -> None:
    """Register a tenant as soon as there is a registry: rows belong to one."""
    with suppress(ConfigurationError):
        Tenants(url).add(TENANT, "one")


# feature: row, rls, schema }


def _differences(
    file: Path, wanted: Mapping[str, str], found: Mapping[str, str], *, again: str = ""
) -> Iterator[str]:
    both = {**wanted, **found}
    tables = [each.split()[1] for each in wanted.keys() ^ found.keys() if each[:9] == "relation "]
    for name in sorted(both):
        if any(_is_part(name, both[name], table) for table in tables):
            continue  # whoever mends the table mends it as well
        if name not in wanted:
            yield f"{file.name}{again} leaves {name}"
        elif name not in found:
            yield f"{file.name}{again} loses {name}"
        elif wanted[name] != found[name]:
            yield f"{file.name}{again} makes of {name}: {found[name]} (was {wanted[name]})"


def _is_part(name: str, definition: str, table: str) -> bool:
    """Whether it goes with the table: a column, a key, an index, a policy."""
    kind, _, of = name.rpartition(" ")
    on = (f" ON {table} ", f" ON public.{table} ")
    return (
        of.startswith(f"{table}.")
        or (of == table and kind != "relation")
        or (kind == "index" and any(each in definition for each in on))
    )
