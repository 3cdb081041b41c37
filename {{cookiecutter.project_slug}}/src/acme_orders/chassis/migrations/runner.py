"""Applies migrations, takes them back, and tells which are pending."""

from collections.abc import Iterator
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import FOLDER, Migration, migrations
from acme_orders.chassis.migrations.history import (
    Applied,
    newest_first,
    pending,
    refuse_late,
)
from acme_orders.chassis.migrations.session import (
    MigrationSession,
    check,
    migration_session,
)


class Migrator:
    """Changes the schema of one database; blocking, because nothing else runs beside it.

    Args:
        url: of a role that may change the schema; to look only, any role will do.
        folder: with the migrations.
        lock_timeout: seconds to wait for a table; a waiting ALTER TABLE blocks all who come later.
    """

    def __init__(self, url: str, *, folder: Path = FOLDER, lock_timeout: float = 2) -> None:
        self._url, self._folder, self._lock_timeout = url, folder, lock_timeout

    def pending(self) -> list[Migration]:
        """What `up` would apply.

        Raises:
            ConfigurationError: the files and the history do not fit; see `migration_history`.
        """
        with migration_session(self._url, self._lock_timeout) as session:
            return self._pending(session)

    def applied(self) -> list[Applied]:
        """The history."""
        with migration_session(self._url, self._lock_timeout) as session:
            return session.history()

    def verify(self) -> None:
        """Check that the schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or was changed after it was applied.
        """
        if lacking := [each.id for each in self.pending()]:
            raise ConfigurationError(
                f"the schema lacks {', '.join(lacking)}: run `migrate up` first"
            )

    def up(self, *, count: int | None = None) -> Iterator[tuple[str, float]]:
        """Apply what is pending, in order; yields the id and the seconds of each.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed.
        """
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            chosen = self._pending(session)[:count]
            check(chosen)
            for migration in chosen:
                yield migration.id, session.up(migration)

    def down(self, *, count: int = 1) -> Iterator[tuple[str, float]]:
        """Take back the newest migrations; yields the id and the seconds of each.

        Raises:
            ConfigurationError: nothing was run, because a file is not fit for it; or one failed.
        """
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            chosen = newest_first(migrations(self._folder), session.history(), count)
            check(chosen, back=True)
            for migration in chosen:
                yield migration.id, session.down(migration)

    def _pending(self, session: MigrationSession) -> list[Migration]:
        known, history = migrations(self._folder), session.history()
        lacking = pending(known, history)
        refuse_late(lacking, history, known)
        return lacking
