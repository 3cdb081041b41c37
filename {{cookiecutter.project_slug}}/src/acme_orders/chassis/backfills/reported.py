"""What the service tells of backfills in its metrics."""

from dataclasses import dataclass

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema

STATES = ("pending", "running", "paused", "throttled", "failed", "completed", "cancelled")


@dataclass(frozen=True, slots=True)
class Reported:
    """A backfill, for metrics.

    Args:
        name: of it.
        state: of it.
        rows: that are done.
        estimate: of all rows.
        still: seconds since a row was done last, while that is no decision of anybody.
        silent: seconds since its runner gave a sign of life; 0 if it is not to run.
    """

    name: str
    state: str
    rows: int
    estimate: int
    still: float
    silent: float


class BackfillRuns(Repository):
    """Reads the runs of backfills; only those who migrate write them."""

    machinery = True

    across_tenants = True  # feature: row, rls, schema

    @query("backfill.runs")
    async def all(self) -> list[Reported]:
        """All that were ever begun."""
        rows = await self.fetch_sql(
            """
            SELECT name, state, rows_done, rows_estimate,
                CASE WHEN state IN ('running', 'throttled', 'failed', 'pending')
                    THEN coalesce(extract(epoch FROM now() - moved_at), 0) ELSE 0 END::float8,
                CASE WHEN state IN ('running', 'throttled')
                    THEN coalesce(extract(epoch FROM now() - heartbeat_at), 0) ELSE 0 END::float8
            FROM backfill_run ORDER BY name
            """
        )
        return [Reported(*row) for row in rows]


class BackfillReport:
    """Brings the metrics up to date when somebody asks for them.

    Args:
        manager: of the database.
        runs: read from it.
        metrics: to be set.
    """

    def __init__(self, manager: Manager, runs: BackfillRuns, metrics: Metrics) -> None:
        self._manager, self._runs, self._metrics = manager, runs, metrics

    @in_system_scope("metrics")  # feature: row, rls, schema
    async def update(self) -> None:
        """Read the runs."""
        async with self._manager.transaction("backfill.report", read_only=True):
            runs = await self._runs.all()
        metrics = self._metrics
        metrics.backfill_state.clear()
        for run in runs:
            for state in STATES:
                metrics.backfill_state.labels(run.name, state).set(state == run.state)
            metrics.backfill_rows_done.labels(run.name).set(run.rows)
            metrics.backfill_rows.labels(run.name).set(run.estimate)
            metrics.backfill_still.labels(run.name).set(max(run.still, 0))
            metrics.backfill_silent.labels(run.name).set(max(run.silent, 0))
