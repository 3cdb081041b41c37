"""Gives a scratch database the schema, even where a migration is not what it should be."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.files import text_of
from acme_orders.chassis.migrations.header import header_of
from acme_orders.chassis.migrations.runner import Migrator


class NoSchema(Exception):
    """A migration cannot be applied, so there is nothing to look at; K5 tells which and why."""


def migrate(migrations: Path, url: str) -> None:
    """Apply the migrations that are inspected.

    Raises:
        NoSchema: one cannot be applied.
    """
    with TemporaryDirectory() as folder:
        # A missing down file, or a head that cannot be understood, is for K5 to find; here it would
        # stop every check.
        for file in migrations.rglob("*.up.sql"):
            copy = Path(folder, file.relative_to(migrations))
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(file, copy)
            if not _is_understood(file, text := text_of(file)):
                lines = text.splitlines(keepends=True)
                copy.write_text(
                    "".join(each for each in lines if _is_understood(file, each)), "utf-8"
                )
            copy.with_name(copy.name.replace(".up.", ".down.")).touch()
        try:
            list(Migrator(url, folder=Path(folder)).up())
        except ServiceError as error:
            cause = str(error).partition("\n")[0]
            raise NoSchema(f"a migration cannot be applied: {cause}") from error


def _is_understood(file: Path, text: str) -> bool:
    try:
        header_of(file, text)
    except ConfigurationError:
        return False
    return True
