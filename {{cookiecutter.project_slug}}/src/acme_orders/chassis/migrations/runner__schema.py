"""Applies migrations to what tenants share and to the schema of each tenant."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import FOLDER, Migration, migrations
from acme_orders.chassis.migrations.history import (
    Applied,
    newest_first,
    pending,
    refuse_late,
)
from acme_orders.chassis.migrations.session import (
    SHARED,
    MigrationSession,
    check,
    migration_session,
)

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
        """What `up` would apply to any schema.

        Raises:
            ConfigurationError: the files and a history do not fit; see `migration_history`.
        """
        with migration_session(self._url, self._lock_timeout) as session:
            lacking = _lacking(migrations(self._folder), _histories(session))
            return [migration for migration, schemas in lacking.items() if schemas]

    def applied(self) -> list[Applied]:
        """The history of every schema; each id with its schema."""
        with migration_session(self._url, self._lock_timeout) as session:
            return [
                line._replace(id=f"{line.id} in {schema}")
                for schema, history in _histories(session).items()
                for line in history
            ]

    def verify(self) -> None:
        """Check that every schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or was changed after it was applied.
        """
        with migration_session(self._url, self._lock_timeout) as session:
            lacking = _lacking(migrations(self._folder), _histories(session))
        if where := [f"{each.id} in {_few(some)}" for each, some in lacking.items() if some]:
            raise ConfigurationError(f"pending is {'; '.join(where)}: run `migrate up` first")

    def up(self, *, count: int | None = None) -> Iterator[tuple[str, float]]:
        """Apply what is pending, in order; yields where each went, and its seconds.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed,
                and says in which schemas.
        """
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            known, applied = migrations(self._folder), 0
            check([each for each, some in _lacking(known, _histories(session)).items() if some])
            for migration in known:
                # The first one makes the registry of tenants, in which there may be some at once.
                schemas = (
                    [] if applied == count else _lacking(known, _histories(session))[migration]
                )
                yield from _each(schemas, migration, partial(_up, session, migration))
                applied += bool(schemas)

    def down(self, *, count: int = 1) -> Iterator[tuple[str, float]]:
        """Take back the newest migrations; yields from where, and the seconds of each.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed,
                and says in which schemas.
        """
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            known, histories = migrations(self._folder), _histories(session)
            holding: dict[Migration, list[str]] = {}
            for schema, history in histories.items():
                with _named(schema):
                    for migration in newest_first(known, history, len(history)):
                        holding.setdefault(migration, []).append(schema)
            # A new tenant gets old migrations: what counts is where each was applied first.
            latest_first = sorted(
                chain(*histories.values()), key=lambda line: line.at, reverse=True
            )
            first = list({line.id: line for line in latest_first}.values())
            chosen = newest_first(known, first, count)
            check(chosen, back=True)
            for migration in chosen:
                back = partial(session.down, migration)
                yield from _each(holding[migration], migration, back)


def _histories(session: MigrationSession) -> dict[str, list[Applied]]:
    """What is applied to each schema."""
    schemas = [SHARED]
    if session.rows(_REGISTRY)[0][0] is not None:
        schemas += [schema for (schema,) in session.rows(_SCHEMAS)]
    return {schema: session.history(schema) for schema in schemas}


def _lacking(
    known: Sequence[Migration], histories: Mapping[str, Sequence[Applied]]
) -> dict[Migration, list[str]]:
    """For each migration the schemas that it is not applied to.

    Raises:
        ConfigurationError: the files and a history do not fit; see `migration_history`.
    """
    lacking: dict[Migration, list[str]] = {migration: [] for migration in known}
    everywhere = sorted(chain(*histories.values()), key=lambda line: line.at)
    latest = {line.id: line for line in everywhere}
    for schema, history in histories.items():
        mine = [each for each in known if each.each_tenant == (schema != SHARED)]
        # A new schema begins with the first one; one that is complete is like all others.
        since = max((line.at for line in history), default=None)
        later = [line for line in latest.values() if since and line.at > since]
        with _named(schema):
            missing = pending(mine, history)
            refuse_late(missing, [*history, *later], known)
        for migration in missing:
            lacking[migration].append(schema)
    return lacking


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
    if schema != SHARED:
        session.rows(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        session.rows(f"GRANT USAGE ON SCHEMA {schema} TO {SERVICE_ROLE}")
    seconds = session.up(migration, schema)
    if schema != SHARED:  # the history is a table like others, and the service got it like them
        session.rows(f"REVOKE ALL ON {schema}.schema_migrations FROM {SERVICE_ROLE}")
        session.rows(f"GRANT SELECT ON {schema}.schema_migrations TO {SERVICE_ROLE}")
    return seconds


@contextmanager
def _named(schema: str) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{schema}: {error}") from None


def _few(schemas: Sequence[str]) -> str:
    more = len(schemas) - _NAMED
    return ", ".join(schemas[:_NAMED]) + (f" and {more} more" if more > 0 else "")
