"""Applies migrations, takes them back, and tells which are pending."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acme_orders.database.migration_files import FOLDER, Migration, migrations
from acme_orders.database.migration_session import migration_session
from acme_orders.errors import ConfigurationError


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
        """What `up` would apply."""
        with migration_session(self._url, self._lock_timeout) as session:
            return session.pending(migrations(self._folder))

    def applied(self) -> list[tuple[Any, ...]]:
        """The history: id, checksum, when, and milliseconds."""
        with migration_session(self._url, self._lock_timeout) as session:
            return session.history()

    def verify(self) -> None:
        """Check that the schema is the one the code was written for.

        Raises:
            ConfigurationError: a migration is pending, or was changed after it was applied.
        """
        if pending := self.pending():
            raise ConfigurationError(
                f"the schema lacks {', '.join(each.id for each in pending)}: run `migrate up` first"
            )

    def up(self, *, count: int | None = None) -> Iterator[tuple[str, float]]:
        """Apply what is pending, in order; yields the id and the seconds of each."""
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            for migration in session.pending(migrations(self._folder))[:count]:
                yield migration.id, session.up(migration)

    def down(self, *, count: int = 1) -> Iterator[tuple[str, float]]:
        """Take back the newest migrations; yields the id and the seconds of each."""
        known = {each.id: each for each in migrations(self._folder)}
        with migration_session(self._url, self._lock_timeout) as session, session.alone():
            for identity, *_ in session.history()[::-1][:count]:
                if identity not in known:
                    raise ConfigurationError(
                        f"{identity} is applied, and its files are not in {self._folder}: take it "
                        "back with the version of the project that has them"
                    )
                yield identity, session.down(known[identity])
