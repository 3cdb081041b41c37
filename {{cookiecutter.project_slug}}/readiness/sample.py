"""Rows of a live database, as `export-sample` writes them, in one of a test."""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

from acme_orders.chassis.backfills.places import entered
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import fetched, open_blocking
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.files import migrations
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.migrations.runner import Migrator

FILE = Path("tests", "sample.jsonl.gz")
_TENANTS = "public.tenants"  # feature: row, rls, schema
_COLUMNS = """
SELECT array_agg(format('%%I', attname::text) ORDER BY attnum) FROM pg_attribute
WHERE attrelid = %s::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


class SampleFile:
    """A sample.

    Args:
        file: that was written.

    Raises:
        ConfigurationError: it is no sample.
    """

    def __init__(self, file: Path) -> None:
        self.migrations, self.rows = frozenset[str](), dict[str, list[str]]()
        try:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                head = json.loads(next(lines))
                self.migrations = frozenset(head["migrations"])
                for line in lines:
                    table = json.loads(line)["table"]
                    row = line[line.index('"row": ') + 7 : line.rindex("}")]
                    self.rows.setdefault(table, []).append(row)
        except (OSError, EOFError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise ConfigurationError(f"{file} is no sample: {error}") from error

    # feature: row, rls, schema {
    def register(self, url: str) -> None:
        """Register the tenants; with a schema for each, `migrate up` makes these then."""
        with closing(open_blocking(url)) as connection:
            tables = {_TENANTS: self.rows.get(_TENANTS, [])}
            _insert(connection.cursor(), tables, conflict=" ON CONFLICT DO NOTHING")

    # feature: row, rls, schema }
    def load(self, url: str) -> int:
        """Insert all rows into empty tables; returns how many.

        Raises:
            ConfigurationError: the schema does not take them; says what PostgreSQL says.
        """
        rows = dict(self.rows)
        rows.pop(_TENANTS, None)  # feature: row, rls, schema
        with closing(open_blocking(url)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"BEGIN; {entered(SHARED)}")
            try:
                _insert(cursor, rows)
                cursor.execute("COMMIT")
            except driver.DriverError as error:
                text = str(error).partition("\n")[0]
                raise ConfigurationError(f"the sample does not fit: {text}") from error
        return sum(map(len, rows.values()))


def _insert(cursor: Any, tables: Mapping[str, list[str]], *, conflict: str = "") -> None:
    """All tables in one statement: foreign keys, also in circles, are looked at when it ends."""
    parts, given = list[str](), list[str]()
    for number, (table, rows) in enumerate(sorted(tables.items())):
        if rows:
            ((names,),) = fetched(cursor, _COLUMNS, (table,))
            there = {key for row in rows for key in json.loads(row)}
            listed = ", ".join(name for name in names if name.strip('"') in there)
            parts.append(
                f"t{number} AS (INSERT INTO {table} ({listed}) OVERRIDING SYSTEM VALUE "
                f"SELECT {listed} FROM jsonb_populate_recordset(NULL::{table}, %s){conflict})"
            )
            given.append(f"[{','.join(rows)}]")
    if parts:
        cursor.execute(f"WITH {', '.join(parts)} SELECT", given)


def on_sample(url: str, folder: Path, file: Path) -> Iterator[str]:
    """Apply the migrations that are newer than a sample to its rows; yields what is wrong."""
    try:
        plant(url, folder, file)
        list(Migrator(url, folder=folder).up())
    except ServiceError as error:
        yield f"on the rows of {file.name}: {error}"


def plant(url: str, folder: Path, file: Path) -> None:
    """Make the schema of the time of a sample in an empty database, and insert its rows.

    Args:
        url: of the database.
        folder: of migrations; those that the sample does not know yet are left to come.
        file: of the sample.

    Raises:
        ConfigurationError: it is no sample, is newer than the migrations, or does not fit.
    """
    sample, known = SampleFile(file), migrations(folder)
    if newer := sorted(sample.migrations - {each.id for each in known}):
        raise ConfigurationError(
            f"{file.name} has rows of a schema with {', '.join(newer)}, which is not there yet: "
            "write it where this release runs"
        )
    with TemporaryDirectory() as then:
        for each in known:
            if each.id in sample.migrations:
                for one in (each.up, each.down):
                    there = Path(then, one.relative_to(folder))
                    there.parent.mkdir(exist_ok=True)
                    copy(one, there)
        before = Migrator(url, folder=Path(then))
        list(before.up())
        # feature: row, rls, schema {
        sample.register(url)
        list(before.up())
        # feature: row, rls, schema }
        sample.load(url)
