"""Migrations that a test writes, and an empty database for them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.migrations.settings import DEFAULT, MigrationSettings

from dev.databases import Databases
from readiness.scratch import rows_of


class Migrations:
    """A folder of migrations, and the database that they are for.

    Args:
        url: of an empty database.
        folder: where to write; empty as well.
        settings: of migrations.
    """

    def __init__(self, url: str, folder: Path, settings: MigrationSettings = DEFAULT) -> None:
        self.url, self.folder = url, folder
        self.migrator = Migrator(url, folder=folder, settings=settings)

    def write(self, identity: str, up: str | bytes, down: str | bytes = "SELECT 1;\n") -> Path:
        """Write both files; returns the up file."""
        for way, content in (("up", up), ("down", down)):
            text = content.encode() if isinstance(content, str) else content
            (self.folder / f"{identity}.{way}.sql").write_bytes(text)
        return self.folder / f"{identity}.up.sql"

    def up(self) -> list[str]:
        """Apply what is pending; returns the ids."""
        return [_id(name) for name, _ in self.migrator.up()]

    def down(self, count: int = 1) -> list[str]:
        """Take the newest back; returns the ids."""
        return [_id(name) for name, _ in self.migrator.down(count=count)]

    def applied(self) -> list[str]:
        """The ids of the history."""
        return [_id(line.id) for line in self.migrator.applied()]

    def findings(self) -> list[str]:
        """What is not as it should be."""
        return [_bare(each) for each in self.migrator.findings()]

    def repair(self, *accept: str) -> list[str]:
        """Put right what can be; returns what was done."""
        return [_bare(each) for each in self.migrator.repair(accept)]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What is in the database, seen from outside."""
        return rows_of(self.url, sql)

    def tables(self) -> list[str]:
        """The schema and name of each table."""
        return [
            name
            for (name,) in self.rows(
                "SELECT schemaname || '.' || tablename FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            )
        ]


def building(project: Migrations) -> list[tuple[Any, ...]]:
    """Indexes of this database that are being built and wait for somebody."""
    return project.rows(
        "SELECT pid FROM pg_stat_progress_create_index JOIN pg_locks USING (pid) "
        "WHERE NOT granted AND datname = current_database()"
    )


def run_command(project: Migrations, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line where the migrations are."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chassis", *arguments],
        cwd=project.folder.parent,
        env={
            **os.environ,
            "ENVIRONMENT": "test",
            "DATABASE_URL": project.url,
            "BROKER_URL": "memory://",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def holding(url: str, sql: str) -> Iterator[Any]:
    """A session with a transaction in which this has run, until the block ends or it commits."""
    with closing(open_blocking(url)) as connection:
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(sql)
        yield cursor


def wait_until(condition: Callable[[], object], within: float = 90) -> None:
    """Wait for a condition; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@contextmanager
def empty_database() -> Iterator[str]:
    """A database on the server of these tests, until the block ends."""
    databases = Databases(os.environ["DATABASE_URL"])
    url = databases.create()
    try:
        yield url
    finally:
        databases.drop(url)


def emptied(url: str) -> str:
    """The database of a test before, without what that left; quicker than another one."""
    name = urlsplit(url).path[1:]
    rows_of(url, f"ALTER DATABASE {name} RESET ALL")
    schemas = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|information_)'"
    for (schema,) in rows_of(url, schemas):
        rows_of(url, f"DROP SCHEMA {schema} CASCADE")
    rows_of(url, "CREATE SCHEMA public")
    return url


def _bare(text: str) -> str:
    """Without the schema, which is told where each tenant has one."""
    return text.removeprefix("public: ")


def _id(name: str) -> str:
    """Without the schema, which is told where each tenant has one."""
    return name.partition(" in ")[0]
