"""Tries again what another session was in the way of, and says who that is."""

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import structlog

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import Conflict
from acme_orders.chassis.migrations.blockers import Blocker, Watch
from acme_orders.chassis.migrations.records import Effort
from acme_orders.chassis.migrations.settings import MigrationSettings

_IN_THE_WAY = {"55P03", "40P01"}  # a lock that was not free in time; a deadlock
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds
_TOLD_AFTER = 5.0  # seconds; for statements that wait without a limit
log = structlog.get_logger()


class Patience:
    """Runs a piece of work until nobody is in its way.

    Args:
        rows: runs SQL in a session that has nothing else to do meanwhile.
        settings: of migrations.
    """

    def __init__(self, rows: Rows, settings: MigrationSettings) -> None:
        self._rows, self.settings = rows, settings

    @property
    def lock_timeout(self) -> int:
        """Milliseconds to wait for a table."""
        return round(self.settings.migration_lock_timeout * 1000)

    def run(
        self,
        file: Path,
        effort: Effort,
        session: Callable[[], AbstractContextManager[Any]],
        work: Callable[[Any], None],
    ) -> None:
        """Run `work` with a cursor of `session`, again and again if need be.

        Raises:
            Conflict: others were in the way each time; names them.
        """
        last = self.settings.migration_attempts

        def tell(blockers: list[Blocker]) -> None:
            log.warning("migration.waits", file=str(file), blocked_by=[*map(str, blockers)])

        for attempt in range(1, last + 1):
            effort.attempts = max(attempt, effort.attempts)
            began = time.monotonic()
            with session() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                watch = Watch(self._rows, cursor.fetchone()[0], tell, _TOLD_AFTER)
                try:
                    with watch:
                        work(cursor)
                except driver.DriverError as error:
                    if driver.sqlstate(error) not in _IN_THE_WAY:
                        raise
                    if attempt == last:
                        raise self._given_up(file, watch.seen) from error
                else:
                    return
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1))
            pause *= random.uniform(0.5, 1)  # noqa: S311
            log.warning(
                "migration.blocked",
                file=str(file),
                blocked_by=[*map(str, watch.seen)],
                attempt=f"{attempt} of {last}",
                again_in=round(pause, 1),
            )
            time.sleep(pause)
            effort.waited += time.monotonic() - began

    def _given_up(self, file: Path, blockers: list[Blocker]) -> Conflict:
        who = "; ".join(map(str, blockers)) or "somebody who was gone before he was seen"
        ends = ", ".join(
            f"SELECT pg_terminate_backend({each.pid})" for each in blockers if each.pid
        )
        return Conflict(
            f"{file}: others were in the way in all {self.settings.migration_attempts} attempts "
            f"(MIGRATION_ATTEMPTS), {self.settings.migration_lock_timeout:g} s each "
            f"(MIGRATION_LOCK_TIMEOUT): {who}. Wait for them, or end them"
            + (f" ({ends})" if ends else "")
            + ", and run the command again"
        )
