"""Applies migrations to a schema and takes them back, with their lines in its history."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import fetched
from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.migrations import records
from acme_orders.chassis.migrations.execution import in_transaction, one_by_one
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.gates import refuse_unfilled
from acme_orders.chassis.migrations.lock import HOLD_FILE, alone
from acme_orders.chassis.migrations.patience import Patience
from acme_orders.chassis.migrations.records import SHARED, Effort, Records
from acme_orders.chassis.migrations.script import Script, script_of
from acme_orders.chassis.migrations.session import MigrationSession


class Applying:
    """Changes schemas, one file after the other.

    Each file has a session of its own, so that nothing that it sets reaches the next one or the
    history. A file is applied and recorded in one transaction; or, where its statements are
    committed one by one, its line says that it is under way, so that an interruption is seen.

    Args:
        session: that looks at the history.
    """

    def __init__(self, session: MigrationSession) -> None:
        self._session = session
        self._patience = Patience(session.rows, session.settings)

    def alone(self) -> AbstractContextManager[None]:
        """Only one runner at a time."""
        return alone(self._session.rows, self._session.settings.migration_wait)

    def carry_over(self, schemas: Sequence[str]) -> None:
        """Bring histories that an earlier version made to the present form."""
        for (schema,) in self._session.rows(records.OUTDATED, (list(schemas),)):
            sql = records.CARRY_OVER.format(schema=schema)
            name = Path(f"{schema}.schema_migrations")
            self._together(Script(name, sql, (), alone=False), schema, lambda *_: None)

    def up(
        self, migration: Migration, schema: str = SHARED, *, all_of: Sequence[str] = ()
    ) -> float:
        """Apply a migration; returns its seconds.

        Args:
            migration: that is pending.
            schema: that it is applied to.
            all_of: the schemas in which its backfills must be completed; without it that one.
        """
        refuse_unfilled(self._session.rows, migration, all_of or (schema,))
        history, script = self._records(schema), script_of(migration.up)
        history.make()
        if not script.alone:

            def record(cursor: Any, seconds: float, effort: Effort) -> None:
                Records(partial(fetched, cursor), schema).write(migration, seconds, effort)

            return self._together(script, schema, record)
        again = self._unfinished(migration, schema)
        history.write(migration, 0, Effort(), status="running")
        with self._recorded(migration, history):
            effort, seconds = one_by_one(script, self._open(schema), self._patience, again=again)
        history.write(migration, seconds, effort)
        return seconds

    def down(self, migration: Migration, schema: str = SHARED) -> float:
        """Take a migration back; returns its seconds."""
        history, script = self._records(schema), script_of(migration.down)
        if not script.alone:

            def forget(cursor: Any, _: float, __: Effort) -> None:
                Records(partial(fetched, cursor), schema).forget(migration)

            return self._together(script, schema, forget)
        again = self._unfinished(migration, schema)
        history.begin_back(migration)
        with self._recorded(migration, history):
            _, seconds = one_by_one(script, self._open(schema), self._patience, again=again)
        history.forget(migration)
        return seconds

    def _together(
        self, script: Script, schema: str, finish: Callable[[Any, float, Effort], None]
    ) -> float:
        return in_transaction(script, self._open(schema), self._patience, finish)

    def _unfinished(self, migration: Migration, schema: str) -> bool:
        lines = self._session.history(schema)
        return any(line.id == migration.id and line.status != "ok" for line in lines)

    def _records(self, schema: str) -> Records:
        return Records(self._session.rows, schema)

    def _open(self, schema: str) -> Callable[[], AbstractContextManager[Any]]:
        @contextmanager
        def opened() -> Iterator[Any]:
            with self._session.clean(schema) as cursor:
                cursor.execute(HOLD_FILE)
                yield cursor

        return opened

    @contextmanager
    def _recorded(self, migration: Migration, history: Records) -> Iterator[None]:
        try:
            yield
        except ServiceError as error:
            # Where this finds no room, or nobody, the line still says that it has begun.
            with suppress(driver.DriverError):
                history.fail(migration, str(error))
            raise
