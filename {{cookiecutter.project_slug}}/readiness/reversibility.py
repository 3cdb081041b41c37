"""K5: the way back of every migration."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress  # feature: schema
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import migrations, text_of
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.tenancy.registry import Tenants  # feature: schema

from readiness.catalog import schema_of
from readiness.check import Check
from readiness.rehearsal import Rehearsal
from readiness.scratch import scratch_database
from readiness.two_tenants import TENANT  # feature: schema

_HEADER = re.compile(r"\A(?:--.*\n|\s)*?-- reversible: (yes|no \([^)\s][^)]*\))\s*$", re.MULTILINE)
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class MigrationsAreReversible(Check):
    """Migrations are reversible or safely staged."""

    id = "K5"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Write a down file that takes back exactly what the up file did.

        Begin each up file with `-- reversible: yes`, or with `-- reversible: no (the reason)` if
        its data cannot come back; then it is the last step of a change made in stages.
        """
        folder = rehearsal.subject.migrations
        self.inspected = len(migrations(folder))
        with scratch_database(rehearsal.subject.settings.database_url) as url:
            for finding in await asyncio.to_thread(lambda: list(_stairway(url, folder))):
                yield finding


def _stairway(url: str, folder: Path) -> Iterator[str]:
    """One up, one down and up again for each; later ones are not tried after a broken one."""
    migrator = Migrator(url, folder=folder)
    for migration in migrations(folder):
        header = _HEADER.match(migration.text)
        if header is None:
            yield f"{migration.up.name} does not begin with `-- reversible: yes` or `no (reason)`"
        _with_tenant(url)  # feature: schema
        before = schema_of(url)
        try:
            list(migrator.up(count=1))
            if header and header[1] != "yes":
                continue
            if not _COMMENTS.sub("", text_of(migration.down)).strip():
                yield f"{migration.down.name} is empty"
                continue
            after = schema_of(url)
            list(migrator.down())
            yield from _differences(migration.down, before, schema_of(url))
            list(migrator.up(count=1))
            yield from _differences(migration.up, after, schema_of(url), again=" again")
        except ConfigurationError as error:
            yield str(error)
            return


# feature: schema {
def _with_tenant(url: str) -> None:
    """Register a tenant as soon as there is a registry: without one no schema is made."""
    with suppress(ConfigurationError):
        Tenants(url).add(TENANT, "one")


# feature: schema }


def _differences(
    file: Path, wanted: Mapping[str, str], found: Mapping[str, str], *, again: str = ""
) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        if name not in wanted:
            yield f"{file.name}{again} leaves {name}"
        elif name not in found:
            yield f"{file.name}{again} loses {name}"
        elif wanted[name] != found[name]:
            yield f"{file.name}{again} makes of {name}: {found[name]} (was {wanted[name]})"
