"""Goes from the schema of the last release to that of the code, one migration after the other.

After each it runs what the last release sends, and what the code sends where that may meet this
state of the schema: what takes something away (`phase: contract`) comes after the code is running.
The rows of a sample are in the tables, if there is one.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.migrations.files import Migration, migrations
from acme_orders.chassis.migrations.gates import numbers_of
from acme_orders.chassis.migrations.header import Phase

from readiness.contracts.compatibility import (
    Failures,
    changed_types,
    column_types,
    failures,
)
from readiness.contracts.contract import Contract
from readiness.contracts.release import Release
from readiness.migrated import migrate
from readiness.rehearsal import Rehearsal, rehearse
from readiness.sample import FILE, plant
from readiness.scratch import scratch_database
from readiness.staging import backfilled

_STEPS = (
    "change it in steps: add what is new beside what is there (`phase: expand`), release code that "
    "uses it, and take the old away a release later (`phase: contract`)"
)
_REMEDIES = {
    "23502": "let the column be NULL, or give it a default, until no release runs that leaves it "
    "out; then add NOT NULL (`phase: contract`)",
    "23514": "add the check a release after the code that keeps to it (`phase: contract`)",
    "23505": "add the key a release after the code that keeps to it (`phase: contract`)",
    "42501": "take the right away a release after the code that can do without (`phase: contract`)",
}


@dataclass
class Upgrade:
    """The way from the last release to the code.

    Args:
        rehearsal: of the code, on the schema as it will be.
        release: the last one.
        current: what the code sends.
    """

    rehearsal: Rehearsal
    release: Release
    current: Sequence[Contract]

    async def findings(self) -> AsyncIterator[str]:
        """What would fail while both releases run."""
        known = {each.id: each for each in migrations(self.rehearsal.subject.migrations)}
        released = self.release.state.migrations
        if wrong := list(_changed(known, released)):
            for finding in wrong:
                yield finding
            return
        later = [each for id_, each in known.items() if id_ not in released]
        if not later:
            return
        with TemporaryDirectory() as folder:
            before = [each for id_, each in known.items() if id_ in released]
            try:
                async with self._at(Path(folder), before) as old:
                    async for finding in self._steps(old, Path(folder), later):
                        yield finding
            except ServiceError as error:  # a migration failed: K5 says it as well
                yield str(error)

    @asynccontextmanager
    async def _at(self, folder: Path, some: Sequence[Migration]) -> AsyncIterator[Rehearsal]:
        for each in some:
            _copy(each, folder)
        subject = replace(self.rehearsal.subject, migrations=folder, alter="", prepare=None)
        subject = replace(subject, gives=False)  # today's rows may not fit into yesterday's tables
        sample = self.rehearsal.subject.migrations.parent / FILE
        with scratch_database(subject.settings.session_url) as url:
            if sample.exists():
                await asyncio.to_thread(plant, url, folder, sample)
            async with rehearse(subject, url, whole=False) as old:
                yield old

    async def _steps(
        self, old: Rehearsal, folder: Path, later: Sequence[Migration]
    ) -> AsyncIterator[str]:
        manager, contracts = old.service.manager, self.release.contracts
        broken = dict(await failures(manager, contracts))  # by their examples, not by a migration
        types = await column_types(manager, contracts)
        for finding in await self._early(old, later):
            yield finding
        for number, migration in enumerate(later, 1):
            known = self.rehearsal.subject.migrations
            await asyncio.to_thread(backfilled, old.url, migration, known)
            _copy(migration, folder)
            await asyncio.to_thread(migrate, old.subject.migrations, old.url)
            after = await column_types(manager, contracts)
            found = dict(await failures(manager, contracts))
            if not _is_ready_for(migration, self.release.state.version):
                found = {**changed_types(types, after, contracts), **found}
            for finding in self._told(found, broken, migration):
                yield finding
            broken, types = broken | found, after
            for finding in await self._early(old, later[number:]):
                yield finding

    def _told(self, found: Failures, known: Failures, migration: Migration) -> Iterator[str]:
        texts = {each.name: each.statements for each in self.release.contracts}
        for place, failure in found.items():
            if place in known:
                continue
            sent = texts[place.query][place.statement - 1]
            head = " ".join(sent.sql[:2])
            yield (
                f"{place.query} of release {self.release.state.version} breaks at {migration.id}: "
                f"{failure.reason}; its statement {place.statement} is `{head}`; "
                f"{_REMEDIES.get(failure.sqlstate, _STEPS)}"
            )

    async def _early(self, old: Rehearsal, pending: Sequence[Migration]) -> list[str]:
        """What of the code fails before migrations that are to come after it."""
        if not pending or any(each.header.phase is not Phase.CONTRACT for each in pending):
            return []
        found = await failures(old.service.manager, self.current)
        return [
            f"{place.query} fails until {pending[0].id} is applied: {failure.reason}; that is "
            "`phase: contract` and comes when the code is running: the code must do without it"
            for place, failure in found.items()
        ]


def _changed(known: Mapping[str, Migration], released: Mapping[str, str]) -> Iterator[str]:
    for id_, checksum in released.items():
        if id_ not in known:
            yield f"{id_} is released, and its files are gone: restore them"
        elif not known[id_].has(checksum):
            yield f"{known[id_].up} was changed after its release: restore it, and write a new one"


def _is_ready_for(migration: Migration, version: str) -> bool:
    """Whether a contract says that this release keeps to the new type already."""
    header = migration.header
    return (
        header.phase is Phase.CONTRACT
        and bool(header.release)
        and numbers_of(version) >= numbers_of(header.release)
    )


def _copy(migration: Migration, folder: Path) -> None:
    for file in (migration.up, migration.down):
        if file.exists():  # a missing down file is for K5 to find
            copy = folder / Path(migration.id).parent / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
