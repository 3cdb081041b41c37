"""Applies migrations to what tenants share and to the schema of each tenant."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.errors import ConfigurationError, Conflict, ServiceError
from acme_orders.chassis.migrations.files import FOLDER, Migration, migrations
from acme_orders.chassis.migrations.findings import (
    findings,
    not_applied,
    refuse_unknown,
)
from acme_orders.chassis.migrations.history import Applied, newest_first
from acme_orders.chassis.migrations.records import SHARED, TABLE
from acme_orders.chassis.migrations.session import (
    MigrationSession,
    check,
    migration_session,
)
from acme_orders.chassis.migrations.settings import DEFAULT, MigrationSettings
from acme_orders.chassis.migrations.tenant_schemas import (
    few,
    histories_of,
    lacking_in,
    latest_of,
    named,
    refuse_failed,
    schemas_of,
    with_later,
)

if TYPE_CHECKING:
    from acme_orders.chassis.migrations.applying import Applying

# As one, so that no interruption leaves the service without its rights or with too many: the
# history is a table like others, and the service would get it like them.
_MAKE = f"""
DO $$
BEGIN
    IF to_regclass('{{schema}}.schema_migrations') IS NULL THEN
        CREATE SCHEMA IF NOT EXISTS {{schema}};
        GRANT USAGE ON SCHEMA {{schema}} TO {SERVICE_ROLE};
        {TABLE};
        REVOKE ALL ON {{schema}}.schema_migrations FROM {SERVICE_ROLE};
        GRANT SELECT ON {{schema}}.schema_migrations TO {SERVICE_ROLE};
    END IF;
END
$$
"""


class Migrator:
    """Changes the schemas of one database; blocking, because nothing else runs beside it.

    Each schema has a history of its own: whatever interrupts a run, the next one goes on there.
    Where a migration fails, it still goes to the other schemas, but none goes on to the next.

    Args:
        url: of a role that may change the schemas; to look only, any role will do.
        folder: with the migrations.
        settings: of migrations.
    """

    def __init__(
        self, url: str, *, folder: Path = FOLDER, settings: MigrationSettings = DEFAULT
    ) -> None:
        self._url, self._folder, self._settings = url, folder, settings

    def pending(self) -> list[Migration]:
        """What `up` would apply to any schema.

        Raises:
            ConfigurationError: the files and a history do not fit; see `history`.
        """
        with self._session() as session:
            lacking = lacking_in(migrations(self._folder), histories_of(session))
            return [migration for migration, schemas in lacking.items() if schemas]

    def applied(self) -> list[Applied]:
        """The history of every schema; each id with its schema."""
        with self._session() as session:
            return [
                line._replace(id=f"{line.id} in {schema}")
                for schema, history in histories_of(session).items()
                for line in history
            ]

    def verify(self) -> None:
        """Check that every schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or an applied one was changed or is gone.
        """
        with self._session() as session:
            lacking = lacking_in(migrations(self._folder), histories_of(session))
        if where := [f"{each.id} in {few(some)}" for each, some in lacking.items() if some]:
            raise ConfigurationError(f"pending is {'; '.join(where)}: run `migrate up` first")

    def findings(self) -> list[str]:
        """Everything that is not as it should be, each with its schema and what helps."""
        with self._session() as session:
            known, histories = migrations(self._folder), histories_of(session)
            found, latest = [], latest_of(histories)
            for schema, history in histories.items():
                mine = [each for each in known if each.each_tenant == (schema != SHARED)]
                everywhere = with_later(history, latest)
                found += [
                    f"{schema}: {each}"
                    for each in (
                        *findings(session, known, schema, history),
                        *not_applied(mine, history, everywhere, known),
                    )
                ]
            return found

    def up(self, *, count: int | None = None) -> Iterator[tuple[str, float]]:
        """Apply what is pending, in order; yields where each went, and its seconds.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed,
                and says in which schemas.
            Conflict: others were in the way, each time; likewise.
        """
        with self._applying() as (session, applying):
            known, applied = migrations(self._folder), 0
            lacking = lacking_in(known, histories_of(session))
            check([each for each, schemas in lacking.items() if schemas])
            for migration in known:
                if schemas := lacking[migration]:
                    if applied == count:
                        return
                    move = partial(_up, session, applying, migration)
                    yield from _each(schemas, migration, move)
                    applied += 1
                    # The first one makes the registry of tenants, in which there may be some.
                    lacking = lacking_in(known, histories_of(session))

    def down(self, *, count: int = 1) -> Iterator[tuple[str, float]]:
        """Take back the newest migrations; yields from where, and the seconds of each.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed,
                and says in which schemas.
            Conflict: others were in the way, each time; likewise.
        """
        with self._applying() as (session, applying):
            known, histories = migrations(self._folder), histories_of(session)
            holding: dict[Migration, list[str]] = {}
            for schema, history in histories.items():
                with named(schema):
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
                back = partial(applying.down, migration)
                yield from _each(holding[migration], migration, back)

    def repair(self, accept: Sequence[str] = ()) -> Iterator[str]:
        """Finish what was interrupted, and remove what it left; yields where, and what was done.

        Args:
            accept: ids of applied migrations whose files were changed: their checksums are
                recorded anew, in each schema.

        Raises:
            ConfigurationError: an id is none, or was not applied; or a migration failed again, and
                says in which schemas.
            Conflict: others were in the way, each time; likewise.
        """
        from acme_orders.chassis.migrations.repairing import (  # noqa: PLC0415
            repair,
        )

        with self._applying() as (session, applying):
            known, histories = migrations(self._folder), histories_of(session)
            refuse_unknown(accept, known, histories)
            failed: list[tuple[str, ServiceError]] = []
            for schema in histories:
                try:
                    for each in repair(session, applying, known, schema, accept):
                        yield f"{schema}: {each}"
                except (ConfigurationError, Conflict) as error:
                    failed.append((schema, error))
            refuse_failed(failed)

    def _session(self) -> AbstractContextManager[MigrationSession]:
        return migration_session(self._url, self._settings)

    @contextmanager
    def _applying(self) -> Iterator[tuple[MigrationSession, "Applying"]]:
        # The service only reads the history; what writes it takes a tenth of a second to import.
        from acme_orders.chassis.migrations.applying import (  # noqa: PLC0415
            Applying,
        )

        with self._session() as session:
            applying = Applying(session)
            with applying.alone():
                applying.carry_over(schemas_of(session))
                yield session, applying


def _each(
    schemas: Sequence[str], migration: Migration, move: Callable[[str], float]
) -> Iterator[tuple[str, float]]:
    failed: list[tuple[str, ServiceError]] = []
    for schema in schemas:
        try:
            seconds = move(schema)
        except (ConfigurationError, Conflict) as error:
            failed.append((schema, error))
        else:
            yield f"{migration.id} in {schema}", seconds
    refuse_failed(failed)


def _up(
    session: MigrationSession, applying: "Applying", migration: Migration, schema: str
) -> float:
    if schema != SHARED:
        session.rows(_MAKE.format(schema=schema))
    # What all share may be required by the tables of each.
    all_of = [schema] if schema != SHARED else schemas_of(session)[1:] or [SHARED]
    return applying.up(migration, schema, all_of=all_of)
