"""Sessions that change the schema, and look at the history of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import fetched, open_blocking
from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.hints import GONE, HINTS
from acme_orders.chassis.migrations.history import Applied
from acme_orders.chassis.migrations.records import SHARED, Records
from acme_orders.chassis.migrations.settings import DEFAULT, MigrationSettings

_ELSEWHERE = """
SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass('schema_migrations')
"""
_INVALID = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relkind = 'i' AND relnamespace = to_regnamespace(%s)
    AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
ORDER BY 1
"""


class MigrationSession:
    """Looks at the history, and opens sessions for files.

    Args:
        connect: opens a connection that commits each statement, and finds names in this schema.
        settings: of migrations.
    """

    def __init__(self, connect: Callable[[str], Any], settings: MigrationSettings) -> None:
        self._connect, self.settings = connect, settings
        self.connection = connect(SHARED)

    def rows(self, sql: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        """Run one statement and return its rows."""
        return fetched(self.connection.cursor(), sql, parameters)

    @contextmanager
    def clean(self, schema: str) -> Iterator[Any]:
        """A cursor of a session of its own, in which names are found in this schema."""
        with closing(self._connect(schema)) as connection:
            yield connection.cursor()

    def history(self, schema: str = SHARED) -> list[Applied]:
        """What is applied in a schema, in order.

        Raises:
            ConfigurationError: it was applied to another schema.
        """
        if self.rows(f"SELECT to_regclass('{schema}.schema_migrations')")[0][0] is not None:
            return Records(self.rows, schema).lines()
        if schema == SHARED and (found := self.rows(_ELSEWHERE)):
            raise ConfigurationError(
                f"schema_migrations is in schema {found[0][0]}, where search_path leads this role, "
                f"and belongs in {SHARED}: ALTER TABLE … SET SCHEMA {SHARED} moves the tables, "
                "and this one last"
            )
        return []

    def invalid_indexes(self, schema: str) -> list[str]:
        """Those that are left of something interrupted; none that is being built."""
        return [name for (name,) in self.rows(_INVALID, (schema,))]


def check(migrations: Sequence[Migration], *, back: bool = False) -> None:
    """Read files before the first of them runs.

    Args:
        migrations: that will be applied.
        back: they will be taken back instead.

    Raises:
        ConfigurationError: one cannot be read or run, would make the history untrue, or comes too
            early.
    """
    # Its parser takes a tenth of a second to import, and the service only reads the history.
    from acme_orders.chassis.migrations.gates import (  # noqa: PLC0415
        refuse_early,
    )
    from acme_orders.chassis.migrations.script import (  # noqa: PLC0415
        script_of,
    )

    for each in migrations:
        up, down = script_of(each.up), script_of(each.down)
        if not back:
            refuse_early(each)
        elif up.sql and not down.sql and each.reversible:
            raise ConfigurationError(
                f"{each.down} has no statement, though {each.up.name} says `reversible: yes`: "
                "write how to take it back"
            )


@contextmanager
def migration_session(
    url: str, settings: MigrationSettings = DEFAULT
) -> Iterator[MigrationSession]:
    """Open a session of its own; nothing else runs in it.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer or refuses us.
        ConfigurationError: it does not let us do what we want.
    """
    session = MigrationSession(partial(_connect, url), settings)
    with closing(session.connection):
        try:
            yield session
        except driver.DriverError as error:
            reason = str(error).strip().partition("\n")[0]
            if session.connection.closed:
                raise DatabaseUnavailable(f"PostgreSQL went away: {reason}; {GONE}") from error
            hint = HINTS.get(driver.sqlstate(error) or "", HINTS["42501"])
            raise ConfigurationError(f"PostgreSQL refuses: {reason}; {hint}") from error


def _connect(url: str, schema: str) -> Any:
    connection = open_blocking(url)
    if schema != SHARED:  # nothing is found there but what is the tenant's own
        connection.cursor().execute(f"SET search_path = {schema}")
    return connection
