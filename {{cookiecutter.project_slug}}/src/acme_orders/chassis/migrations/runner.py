"""Applies migrations, takes them back, and tells which are pending."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import FOLDER, Migration, migrations
from acme_orders.chassis.migrations.findings import (
    findings,
    not_applied,
    refuse_unknown,
)
from acme_orders.chassis.migrations.history import (
    Applied,
    newest_first,
    pending,
    refuse_late,
    refuse_unfit,
)
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.migrations.session import (
    MigrationSession,
    check,
    migration_session,
)
from acme_orders.chassis.migrations.settings import DEFAULT, MigrationSettings

if TYPE_CHECKING:
    from acme_orders.chassis.migrations.applying import Applying


class Migrator:
    """Changes the schema of one database; blocking, because nothing else runs beside it.

    Args:
        url: of a role that may change the schema; to look only, any role will do.
        folder: with the migrations.
        settings: of migrations.
    """

    def __init__(
        self, url: str, *, folder: Path = FOLDER, settings: MigrationSettings = DEFAULT
    ) -> None:
        self._url, self._folder, self._settings = url, folder, settings

    def pending(self) -> list[Migration]:
        """What `up` would apply.

        Raises:
            ConfigurationError: the files and the history do not fit; see `history`.
        """
        with self._session() as session:
            return self._pending(session)

    def applied(self) -> list[Applied]:
        """The history."""
        with self._session() as session:
            return session.history()

    def verify(self) -> None:
        """Check that the schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or an applied one was changed or is gone.
        """
        if lacking := [each.id for each in self.pending()]:
            raise ConfigurationError(
                f"the schema lacks {', '.join(lacking)}: run `migrate up` first"
            )

    def findings(self) -> list[str]:
        """Everything that is not as it should be, each with what helps."""
        with self._session() as session:
            known, history = migrations(self._folder), session.history()
            return [
                *findings(session, known, SHARED, history),
                *not_applied(known, history, history, known),
            ]

    def up(self, *, count: int | None = None) -> Iterator[tuple[str, float]]:
        """Apply what is pending, in order; yields the id and the seconds of each.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed.
            Conflict: others were in the way, each time.
        """
        with self._applying() as (session, applying):
            chosen = self._pending(session)[:count]
            check(chosen)
            for migration in chosen:
                yield migration.id, applying.up(migration)

    def down(self, *, count: int = 1) -> Iterator[tuple[str, float]]:
        """Take back the newest migrations; yields the id and the seconds of each.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed.
            Conflict: others were in the way, each time.
        """
        with self._applying() as (session, applying):
            chosen = newest_first(migrations(self._folder), session.history(), count)
            check(chosen, back=True)
            for migration in chosen:
                yield migration.id, applying.down(migration)

    def repair(self, accept: Sequence[str] = ()) -> Iterator[str]:
        """Finish what was interrupted, and remove what it left; yields what was done.

        Args:
            accept: ids of applied migrations whose files were changed: their checksums are
                recorded anew.

        Raises:
            ConfigurationError: an id is none, or was not applied; or a migration failed again.
        """
        from acme_orders.chassis.migrations.repairing import (  # noqa: PLC0415
            repair,
        )

        with self._applying() as (session, applying):
            known = migrations(self._folder)
            refuse_unknown(accept, known, {SHARED: session.history()})
            yield from repair(session, applying, known, SHARED, accept)

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
                applying.carry_over([SHARED])
                yield session, applying

    def _pending(self, session: MigrationSession) -> list[Migration]:
        known, history = migrations(self._folder), session.history()
        refuse_unfit(known, history)
        lacking = pending(known, history)
        refuse_late(lacking, history, known)
        return lacking
