"""Sessions that change the schema and keep the history of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.history import Applied

SHARED = "public"
_LOCK = 4_732_901  # any number, the same for every runner
_HISTORY = """
CREATE TABLE IF NOT EXISTS {schema}.schema_migrations (
    id text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)
"""
_LINES = "SELECT id, checksum, applied_at, duration_ms FROM {schema}.schema_migrations ORDER BY id"
_ELSEWHERE = """
SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass('schema_migrations')
"""
# What a file deferred is checked with its own settings; then they end.
_LEAVE = "SET CONSTRAINTS ALL IMMEDIATE; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL"
_HINTS = {
    "2D000": "each file is one transaction: no COMMIT or ROLLBACK in DO or in what CALL runs",
    "25001": "each file is one transaction, and this statement runs only outside of one",
}


class MigrationSession:
    """Looks at the history, and applies files one at a time.

    Each file has a session of its own, so that nothing that it sets reaches the next one or the
    history; and one transaction, together with its line of history.

    Args:
        connect: opens a connection that commits each statement, and finds names in this schema.
        lock_timeout: seconds to wait for a table; a waiting ALTER TABLE blocks all who come later.
    """

    def __init__(self, connect: Callable[[str], Any], lock_timeout: float) -> None:
        self._connect, self._lock_timeout = connect, lock_timeout
        self.connection = connect(SHARED)

    def rows(self, sql: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        """Run one statement and return its rows."""
        cursor = self.connection.cursor()
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []

    def history(self, schema: str = SHARED) -> list[Applied]:
        """What is applied in a schema, in order.

        Raises:
            ConfigurationError: it was applied to another schema.
        """
        if self.rows(f"SELECT to_regclass('{schema}.schema_migrations')")[0][0] is not None:
            return [Applied(*line) for line in self.rows(_LINES.format(schema=schema))]
        if schema == SHARED and (found := self.rows(_ELSEWHERE)):
            raise ConfigurationError(
                f"schema_migrations is in schema {found[0][0]}, where search_path leads this role, "
                f"and belongs in {SHARED}: ALTER TABLE … SET SCHEMA {SHARED} moves the tables, "
                "and this one last"
            )
        return []

    def up(self, migration: Migration, schema: str = SHARED) -> float:
        """Apply a migration; returns its seconds."""
        self.rows(_HISTORY.format(schema=schema))
        with self._run(migration.up, schema) as (cursor, seconds):
            cursor.execute(
                f"INSERT INTO {schema}.schema_migrations (id, checksum, duration_ms) "
                "VALUES (%s, %s, %s)",
                (migration.id, migration.checksum, round(seconds * 1000)),
            )
        return seconds

    def down(self, migration: Migration, schema: str = SHARED) -> float:
        """Take a migration back; returns its seconds."""
        with self._run(migration.down, schema) as (cursor, seconds):
            sql = f"DELETE FROM {schema}.schema_migrations WHERE id = %s"
            cursor.execute(sql, (migration.id,))
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
    def _run(self, file: Path, schema: str) -> Iterator[tuple[Any, float]]:
        """Run a file; yields what writes its line of history, and the seconds that it took."""
        sql = _sql_of(file)
        with closing(self._connect(schema)) as connection:
            cursor, milliseconds = connection.cursor(), round(self._lock_timeout * 1000)
            try:
                cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {milliseconds}")
                began = time.monotonic()
                if sql:  # a driver refuses to send nothing
                    cursor.execute(sql)
                cursor.execute(_LEAVE)
                yield cursor, time.monotonic() - began
                cursor.execute("COMMIT")
            except driver.DriverError as error:
                reason = str(error).strip()
                if connection.closed:
                    raise DatabaseUnavailable(
                        f"{file}: PostgreSQL went away: {reason}; `migrate status` says whether "
                        "it was applied"
                    ) from error
                hint = _HINTS.get(driver.sqlstate(error) or "")
                raise ConfigurationError(
                    f"{file}: {reason}" + (f"\n{hint}" if hint else "")
                ) from error


def check(migrations: Sequence[Migration], *, back: bool = False) -> None:
    """Read files before the first of them runs.

    Args:
        migrations: that will be applied.
        back: they will be taken back instead.

    Raises:
        ConfigurationError: one cannot be read, or would make the history untrue.
    """
    for each in migrations:
        up, down = _sql_of(each.up), _sql_of(each.down)
        if back and up and not down and each.reversible:
            raise ConfigurationError(
                f"{each.down} has no statement, though {each.up.name} says `reversible: yes`: "
                "write how to take it back"
            )


@contextmanager
def migration_session(url: str, lock_timeout: float) -> Iterator[MigrationSession]:
    """Open a session of its own; nothing else runs in it.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer or refuses us.
        ConfigurationError: it does not let us do what we want.
    """
    session = MigrationSession(partial(_connect, url), lock_timeout)
    with closing(session.connection):
        try:
            yield session
        except driver.DriverError as error:
            reason = str(error).strip().partition("\n")[0]
            if session.connection.closed:
                raise DatabaseUnavailable(f"PostgreSQL went away: {reason}") from error
            raise ConfigurationError(
                f"PostgreSQL refuses: {reason}; migrations need the owner of the tables "
                "(MIGRATION_DATABASE_URL)"
            ) from error


def _connect(url: str, schema: str) -> Any:
    connection = open_blocking(url)
    if schema != SHARED:  # nothing is found there but what is the tenant's own
        connection.cursor().execute(f"SET search_path = {schema}")
    return connection


def _sql_of(file: Path) -> str:
    # Its parser takes a tenth of a second to import, and the service only reads the history.
    from acme_orders.chassis.migrations.sql import sql_of  # noqa: PLC0415

    return sql_of(file)
