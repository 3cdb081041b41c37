"""Applies `migrations/NNNN_name.up.sql`, takes them back with `.down.sql`, and keeps a history."""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acme_orders.database import driver
from acme_orders.errors import ConfigurationError, DatabaseUnavailable

FOLDER = Path("migrations")
_LOCK = 4_732_901  # any number, the same for every runner
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    id text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)
"""


@dataclass(frozen=True)
class Migration:
    """A pair of files."""

    id: str
    up: Path
    down: Path

    @property
    def checksum(self) -> str:
        """Of what is applied; a file must not change after that."""
        return hashlib.sha256(self.up.read_bytes()).hexdigest()


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations, in order.

    Raises:
        ConfigurationError: no folder, a name of another form, a number twice, or no down file.
    """
    found: dict[str, Migration] = {}
    for up in sorted(folder.glob("*.up.sql")):
        identity = up.name.removesuffix(".up.sql")
        number = re.match(r"(\d{4})_[a-z0-9_]+$", identity)
        if number is None:
            raise ConfigurationError(f"{up}: call it like 0007_what_it_does.up.sql")
        if number[1] in found:
            raise ConfigurationError(f"{up}: number {number[1]} is taken by {found[number[1]].id}")
        down = folder / f"{identity}.down.sql"
        if not down.exists():
            raise ConfigurationError(f"{down} is missing: write how to take {up.name} back")
        found[number[1]] = Migration(identity, up, down)
    if not found:
        raise ConfigurationError(
            f"no migrations in {folder.resolve()}: run in the project's folder"
        )
    return list(found.values())


class Migrator:
    """Changes the schema of one database; blocking, because nothing else runs beside it.

    Args:
        url: of a role that may change the schema.
        folder: with the migrations.
        lock_timeout: seconds to wait for a table; a waiting ALTER TABLE blocks all who come later.
    """

    def __init__(self, url: str, *, folder: Path = FOLDER, lock_timeout: float = 2) -> None:
        self._url, self._folder, self._lock_timeout = url, folder, lock_timeout

    def pending(self) -> list[Migration]:
        """What `up` would apply."""
        with self._connect() as connection:
            return self._pending(connection)

    def applied(self) -> list[tuple[Any, ...]]:
        """The history: id, when, and milliseconds."""
        with self._connect() as connection:
            if not _rows(connection, "SELECT to_regclass('schema_migrations')")[0][0]:
                return []
            return _rows(
                connection, "SELECT id, applied_at, duration_ms FROM schema_migrations ORDER BY id"
            )

    def verify(self) -> None:
        """Check that the schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or was changed after it was applied.
        """
        if pending := self.pending():
            raise ConfigurationError(
                f"the schema lacks {', '.join(each.id for each in pending)}: run `migrate up` first"
            )

    def up(self, *, count: int | None = None) -> Iterator[tuple[Migration, float]]:
        """Apply what is pending, in order; yields each with its seconds."""
        with self._connect() as connection, _alone(connection):
            connection.cursor().execute(_HISTORY)
            for migration in self._pending(connection)[:count]:
                seconds = self._apply(connection, migration.up)
                connection.cursor().execute(
                    "INSERT INTO schema_migrations (id, checksum, duration_ms) VALUES (%s, %s, %s)",
                    (migration.id, migration.checksum, round(seconds * 1000)),
                )
                connection.cursor().execute("COMMIT")
                yield migration, seconds

    def down(self, *, count: int = 1) -> Iterator[tuple[Migration, float]]:
        """Take back the newest migrations; yields each with its seconds."""
        known = {each.id: each for each in migrations(self._folder)}
        with self._connect() as connection, _alone(connection):
            rows = _rows(connection, "SELECT id FROM schema_migrations ORDER BY id DESC")
            for (identity,) in rows[:count]:
                migration = known[identity]
                seconds = self._apply(connection, migration.down)
                connection.cursor().execute(
                    "DELETE FROM schema_migrations WHERE id = %s", (identity,)
                )
                connection.cursor().execute("COMMIT")
                yield migration, seconds

    def _pending(self, connection: Any) -> list[Migration]:
        known = migrations(self._folder)
        history: dict[str, str] = {}
        if _rows(connection, "SELECT to_regclass('schema_migrations')")[0][0]:
            history = dict(_rows(connection, "SELECT id, checksum FROM schema_migrations"))
        for each in known:
            if each.id in history and history[each.id] != each.checksum:
                raise ConfigurationError(
                    f"{each.up} was changed after it was applied: restore it, and write a new one"
                )
        return [each for each in known if each.id not in history]

    def _apply(self, connection: Any, file: Path) -> float:
        """Run a file in a transaction that the caller commits, together with the history."""
        began = time.monotonic()
        cursor = connection.cursor()
        cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {round(self._lock_timeout * 1000)}")
        try:
            if statements := file.read_text(encoding="utf-8").strip():
                cursor.execute(statements)
        except driver.DriverError as error:
            cursor.execute("ROLLBACK")
            raise ConfigurationError(f"{file}: {str(error).strip()}") from error
        return time.monotonic() - began

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        try:
            connection = driver.connect(self._url)
        except driver.DriverError as error:
            raise DatabaseUnavailable(
                f"cannot reach PostgreSQL (DATABASE_URL): {str(error).strip()}; "
                "start it or correct the address"
            ) from error
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def _alone(connection: Any) -> Iterator[None]:
    """Only one runner at a time. Polled: a waiting lock would block CREATE INDEX CONCURRENTLY."""
    deadline = time.monotonic() + 60
    while not _rows(connection, f"SELECT pg_try_advisory_lock({_LOCK})")[0][0]:
        if time.monotonic() > deadline:
            raise ConfigurationError("another migration has been running for 60 s: wait for it")
        time.sleep(0.2)
    yield  # the lock ends with the session


def _rows(connection: Any, sql: str) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(sql)
    return list(cursor.fetchall())
