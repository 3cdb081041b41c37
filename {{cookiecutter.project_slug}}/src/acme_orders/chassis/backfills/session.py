"""A connection that belongs to one backfill."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import fetched, open_blocking
from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable

_APPLICATION = "acme-orders backfill"
_OUTAGES = ("08", "53", "57P", "58", "XX", "25006")
_HINTS = {
    "42501": "backfills need the owner of the tables (MIGRATION_DATABASE_URL)",
    "42P01": "`migrate up` makes what is missing",
}


class BackfillSession:
    """Sends SQL; outside of `transaction` each statement commits by itself."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run SQL and return the rows of the last statement."""
        return fetched(self.connection.cursor(), sql, parameters)

    def records(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows by the names of their columns."""
        cursor = self.connection.cursor()
        cursor.execute(sql, parameters or None)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def ended(self, error: BaseException) -> bool:
        """Whether PostgreSQL is full, stopping or a standby, or this session has ended."""
        code = driver.sqlstate(error) or ""
        return bool(self.connection.closed) or code.startswith(_OUTAGES)

    @contextmanager
    def transaction(self, begin: str, limits: Limits, *, statement: float) -> Iterator[None]:
        """COMMIT at the end of the block, ROLLBACK after an error.

        Args:
            begin: SQL.
            limits: of time.
            statement: seconds for each; 0 for no limit.
        """
        try:
            self.rows(
                f"BEGIN; SET LOCAL lock_timeout = {round(limits.lock * 1000)}; "
                f"SET LOCAL statement_timeout = {round(statement * 1000)}; "
                f"{begin}"
            )
            yield
            self.rows("COMMIT")
        except BaseException:
            if not self.connection.closed:
                self.rows("ROLLBACK")
            raise


@contextmanager
def backfill_session(url: str, *, application: str = _APPLICATION) -> Iterator[BackfillSession]:
    """Open a session; what PostgreSQL refuses is explained.

    Args:
        url: of the database, with the role to act as.
        application: name that PostgreSQL shows.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer, is full, or ended the session.
        ConfigurationError: it refuses what we want.
    """
    with closing(open_blocking(url, application=application)) as connection:
        session = BackfillSession(connection)
        try:
            yield session
        except driver.DriverError as error:
            if session.ended(error):
                raise DatabaseUnavailable(
                    f"PostgreSQL cannot go on: {told(error)}; what was committed stays: make sure "
                    "that it runs and has room, and run the same command again, which goes on there"
                ) from error
            raise ConfigurationError(f"PostgreSQL refuses: {explained(error)}") from error


def explained(error: BaseException) -> str:
    """What PostgreSQL says, and what helps if we know."""
    hint = _HINTS.get(driver.sqlstate(error) or "")
    return told(error) + (f"; {hint}" if hint else "")


def told(error: BaseException) -> str:
    """The first line of what PostgreSQL says; those below may have values of rows."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
