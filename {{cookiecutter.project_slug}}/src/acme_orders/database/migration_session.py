"""A connection that changes the schema and keeps the history of it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acme_orders.database import driver
from acme_orders.database.migration_files import Migration
from acme_orders.errors import ConfigurationError, DatabaseUnavailable

_LOCK = 4_732_901  # any number, the same for every runner
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    id text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)
"""


class MigrationSession:
    """Applies files one at a time, each in a transaction together with its line of history.

    Args:
        connection: blocking, and committing each statement by itself.
        lock_timeout: seconds to wait for a table; a waiting ALTER TABLE blocks all who come later.
    """

    def __init__(self, connection: Any, lock_timeout: float) -> None:
        self._connection, self._lock_timeout = connection, lock_timeout

    def rows(self, sql: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        """Run one statement and return its rows."""
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []

    def history(self) -> list[tuple[Any, ...]]:
        """Of each applied migration: id, checksum, when, and milliseconds."""
        if self.rows("SELECT to_regclass('schema_migrations')")[0][0] is None:
            return []
        return self.rows(
            "SELECT id, checksum, applied_at, duration_ms FROM schema_migrations ORDER BY id"
        )

    def pending(self, known: Sequence[Migration]) -> list[Migration]:
        """Those of `known` that are not applied, in order.

        Raises:
            ConfigurationError: an applied one was changed afterwards.
        """
        checksums = {identity: checksum for identity, checksum, *_ in self.history()}
        for each in known:
            if checksums.get(each.id, each.checksum) != each.checksum:
                raise ConfigurationError(
                    f"{each.up} was changed after it was applied: restore it, and write a new one"
                )
        return [each for each in known if each.id not in checksums]

    def up(self, migration: Migration) -> float:
        """Apply a migration; returns its seconds."""
        self.rows(_HISTORY)
        with self._transaction(migration.up) as began:
            self._run(migration.up)
            seconds = time.monotonic() - began
            self.rows(
                "INSERT INTO schema_migrations (id, checksum, duration_ms) VALUES (%s, %s, %s)",
                (migration.id, migration.checksum, round(seconds * 1000)),
            )
        return seconds

    def down(self, migration: Migration) -> float:
        """Take a migration back; returns its seconds."""
        with self._transaction(migration.down) as began:
            self._run(migration.down)
            seconds = time.monotonic() - began
            self.rows("DELETE FROM schema_migrations WHERE id = %s", (migration.id,))
        return seconds

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one runner at a time; the lock ends with the session.

        Polled, because a waiting lock would block CREATE INDEX CONCURRENTLY.
        """
        deadline = time.monotonic() + 60
        while not self.rows(f"SELECT pg_try_advisory_lock({_LOCK})")[0][0]:
            if time.monotonic() > deadline:
                raise ConfigurationError("another migration has been running for 60 s: wait for it")
            time.sleep(0.2)
        yield

    @contextmanager
    def _transaction(self, file: Path) -> Iterator[float]:
        self.rows(f"BEGIN; SET LOCAL lock_timeout = {round(self._lock_timeout * 1000)}")
        try:
            yield time.monotonic()
            self.rows("COMMIT")
        except driver.DriverError as error:
            self.rows("ROLLBACK")
            raise ConfigurationError(f"{file}: {str(error).strip()}") from error

    def _run(self, file: Path) -> None:
        if statements := file.read_text(encoding="utf-8").strip():
            self._connection.cursor().execute(statements)


@contextmanager
def migration_session(url: str, lock_timeout: float) -> Iterator[MigrationSession]:
    """Open a session of its own; nothing else runs in it.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer or refuses us.
        ConfigurationError: it does not let us do what we want.
    """
    try:
        connection = driver.connect(url)
    except driver.DriverError as error:
        raise DatabaseUnavailable(
            f"cannot reach PostgreSQL: {' '.join(str(error).split())}; start it or correct the "
            "address in DATABASE_URL or MIGRATION_DATABASE_URL"
        ) from error
    try:
        yield MigrationSession(connection, lock_timeout)
    except driver.DriverError as error:
        reason = str(error).strip().partition("\n")[0]
        if connection.closed:
            raise DatabaseUnavailable(f"PostgreSQL went away: {reason}") from error
        raise ConfigurationError(
            f"PostgreSQL refuses: {reason}; migrations need the owner of the tables "
            "(MIGRATION_DATABASE_URL)"
        ) from error
    finally:
        connection.close()
