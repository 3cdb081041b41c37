"""What the service tells of migrations in its metrics; whoever applied them is gone by then."""

import asyncio
import time
from datetime import UTC, datetime
from itertools import product

from acme_orders.chassis.background import begun, ended
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics

_SHARE = 20  # of the time, one part is spent on reading; there may be hundreds of schemas


class MigrationReport:
    """Brings the metrics up to date when somebody asks for them.

    Args:
        migrator: of the database, as somebody who may read the history.
        metrics: to be set.
    """

    def __init__(self, migrator: Migrator, metrics: Metrics) -> None:
        self._migrator, self._metrics = migrator, metrics
        self._next = 0.0
        self._reading: asyncio.Future[None] | None = None

    async def update(self) -> None:
        """Read the history.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if self._reading is None or self._reading.done():
            if time.monotonic() < self._next:
                return
            self._reading = begun(self._read)
        await ended(self._reading)  # who asks meanwhile waits for the same answer

    def _read(self) -> None:
        began, now = time.monotonic(), datetime.now(UTC)
        rows: dict[tuple[str, ...], list[float]] = {
            key: [] for key in product(("up", "down"), ("ok", "failed", "running"))
        }
        for line in self._migrator.applied():
            running = (now - line.at).total_seconds()
            seconds = running if line.status == "running" else line.milliseconds / 1000
            rows.setdefault((line.direction, line.status), []).append(max(seconds, 0))
        self._metrics.db_migration_duration.set(rows)
        ended = time.monotonic()
        self._next = ended + (ended - began) * _SHARE
