"""Backfills that migrations rely on: they are there, can be run, and complete."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from acme_orders.chassis.backfills import files
from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.runner import Runner
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.files import Migration, migrations

from readiness.scratch import session
from readiness.seed.fill import empty

_ALONE = Limits(share=1, wal=2**40)  # nobody else works in a scratch database


def unfit(folder: Path) -> Iterator[str]:
    """What is wrong with the backfills beside a folder of migrations."""
    beside = folder.with_name(files.FOLDER.name)
    for name in files.names(beside):
        try:
            files.found(name, beside)
        except ConfigurationError as error:
            yield str(error)
    for migration in migrations(folder):
        for name in migration.header.backfills:
            if name not in files.names(beside):
                yield (
                    f"{migration.up.name} requires the backfill {name}, and {beside}/{name}.py is "
                    f"missing: `backfill new {name}` makes it"
                )


def backfilled(url: str, migration: Migration, folder: Path) -> None:
    """Run the backfills that a migration requires, on rows that were made up, or on none.

    Raises:
        ServiceError: one does not complete even without rows.
    """
    runner = Runner(url, folder=folder.with_name(files.FOLDER.name), limits=_ALONE)
    for name in migration.header.backfills:
        try:
            _run(runner, name)
        except ServiceError:  # real rows may be what it takes for granted
            with session(url) as cursor:
                empty(cursor)
            _run(runner, name)


def _run(runner: Runner, name: str) -> None:
    with closing(runner.run(name, restart=True)) as steps:
        list(steps)
