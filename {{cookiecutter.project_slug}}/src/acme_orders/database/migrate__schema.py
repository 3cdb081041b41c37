"""Applies migrations to what tenants share and to the schema of each tenant."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from acme_orders.database.access import SERVICE_ROLE
from acme_orders.database.migration_files import FOLDER, Migration, migrations
from acme_orders.database.migration_session import (
    MigrationSession,
    migration_session,
)
from acme_orders.errors import ConfigurationError

_SHARED = "public"
_NAMED = 3  # schemas in one message; there may be hundreds
_REGISTRY = "SELECT to_regclass('public.tenants')"
_SCHEMAS = "SELECT schema_name FROM public.tenants ORDER BY created_at, id"


class Migrator:
    """Changes the schemas of one database; blocking, because nothing else runs beside it.

    Each schema has a history of its own: whatever interrupts a run, the next one goes on there.
    Where a migration fails, it still goes to the other schemas, but none goes on to the next.

    Args:
        url: of a role that may change the schemas; to look only, any role will do.
        folder: with the migrations.
        lock_timeout: seconds to wait for a table; a waiting ALTER TABLE blocks all who come later.
    """

    def __init__(self, url: str, *, folder: Path = FOLDER, lock_timeout: float = 2) -> None:
        self._url, self._folder, self._lock_timeout = url, folder, lock_timeout

    def pending(self) -> list[Migration]:
        """What `up` would apply to any schema."""
        with migration_session(self._url, self._lock_timeout) as session:
            return [each for each in migrations(self._folder) if self._missing(session, each)]

    def applied(self) -> list[tuple[Any, ...]]:
        """The history of every schema: id and schema, checksum, when, and milliseconds."""
        with migration_session(self._url, self._lock_timeout) as session:
            return [
                (f"{identity} in {schema}", *rest)
                for schema in self._schemas(session)
                for identity, *rest in _in(session, schema).history()
            ]

    def verify(self) -> None:
        """Check that every schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or was changed after it was applied.
        """
        with migration_session(self._url, self._lock_timeout) as session:
            lacking = [
                f"{migration.id} in {_few(schemas)}"
                for migration in migrations(self._folder)
                if (schemas := self._missing(session, migration))
            ]
        if lacking:
            raise ConfigurationError(f"pending is {'; '.join(lacking)}: run `migrate up` first")

    def up(self, *, count: int | None = None) -> Iterator[tuple[str, float]]:
        """Apply what is pending, in order; yields where each went, and its seconds.

        Raises:
            ConfigurationError: one failed; says in which schemas.
        """
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            applied = 0
            for migration in migrations(self._folder):
                schemas = [] if applied == count else self._missing(session, migration)
                yield from _each(schemas, migration, partial(_up, session, migration))
                applied += bool(schemas)

    def down(self, *, count: int = 1) -> Iterator[tuple[str, float]]:
        """Take back the newest migrations; yields from where, and the seconds of each.

        Raises:
            ConfigurationError: one failed; says in which schemas. Or the files of one are gone.
        """
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            self._refuse_unknown(session)
            taken = 0
            for migration in reversed(migrations(self._folder)):
                schemas = [] if taken == count else self._holding(session, migration)
                yield from _each(schemas, migration, partial(_down, session, migration))
                taken += bool(schemas)

    def _schemas(self, session: MigrationSession) -> list[str]:
        if session.rows(_REGISTRY)[0][0] is None:
            return [_SHARED]
        return [_SHARED, *(schema for (schema,) in session.rows(_SCHEMAS))]

    def _refuse_unknown(self, session: MigrationSession) -> None:
        known = {migration.id for migration in migrations(self._folder)}
        for schema in self._schemas(session):
            for identity, *_ in _in(session, schema).history():
                if identity not in known:
                    raise ConfigurationError(
                        f"{identity} is applied in {schema}, and its files are not in "
                        f"{self._folder}: take it back with the version of the project that has "
                        "them"
                    )

    def _missing(self, session: MigrationSession, migration: Migration) -> list[str]:
        return [
            schema
            for schema in self._schemas(session)
            if migration.each_tenant == (schema != _SHARED)
            and _in(session, schema).pending([migration])
        ]

    def _holding(self, session: MigrationSession, migration: Migration) -> list[str]:
        return [
            schema
            for schema in self._schemas(session)
            if migration.id in {identity for identity, *_ in _in(session, schema).history()}
        ]


def _each(
    schemas: Sequence[str], migration: Migration, move: Callable[[str], float]
) -> Iterator[tuple[str, float]]:
    failed = []
    for schema in schemas:
        try:
            seconds = move(schema)
        except ConfigurationError as error:
            failed.append(f"{schema}: {error}")
        else:
            yield f"{migration.id} in {schema}", seconds
    if failed:
        failed.append("what is done elsewhere stays: put this right, and run it again")
        raise ConfigurationError("\n".join(failed))


def _up(session: MigrationSession, migration: Migration, schema: str) -> float:
    if schema != _SHARED:
        session.rows(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        session.rows(f"GRANT USAGE ON SCHEMA {schema} TO {SERVICE_ROLE}")
    seconds = _in(session, schema).up(migration)
    if schema != _SHARED:  # the history is a table like others, and the service got it like them
        session.rows(f"REVOKE ALL ON schema_migrations FROM {SERVICE_ROLE}")
        session.rows(f"GRANT SELECT ON schema_migrations TO {SERVICE_ROLE}")
    return seconds


def _down(session: MigrationSession, migration: Migration, schema: str) -> float:
    return _in(session, schema).down(migration)


def _in(session: MigrationSession, schema: str) -> MigrationSession:
    """Point a session at a schema; its name comes from the registry, which makes it itself."""
    session.rows(f"SET search_path = {schema}")
    return session


def _few(schemas: Sequence[str]) -> str:
    more = len(schemas) - _NAMED
    return ", ".join(schemas[:_NAMED]) + (f" and {more} more" if more > 0 else "")
