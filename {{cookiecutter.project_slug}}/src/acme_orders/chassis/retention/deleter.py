"""The part of the process that deletes what has been kept long enough."""

import asyncio
from collections import Counter
from contextlib import closing
from functools import partial

import structlog

from acme_orders.chassis.background import begun
from acme_orders.chassis.errors import Conflict, ServiceError
from acme_orders.chassis.messaging.steady import rest
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.retention.runner import Runner

_LOOK = 60.0  # seconds; whoever runs it may have ended, and another process goes on
log = structlog.get_logger()


class Deleter:
    """Runs each policy that is due; in a fleet one process does.

    Args:
        runner: of all policies.
        interval: seconds between two passes.
        metrics: where it counts.
    """

    def __init__(self, runner: Runner, *, interval: float, metrics: Metrics) -> None:
        self._runner, self._interval, self._metrics = runner, interval, metrics

    async def run(self, stop: asyncio.Event) -> None:
        """Look whether something is due, again and again, until `stop` is set."""
        while not stop.is_set():
            await rest(min(_LOOK, self._interval), stop)
            if stop.is_set():
                return
            try:
                await begun(partial(self.run_once, stop))
            except Conflict:
                continue  # another process does it
            except ServiceError as error:
                log.warning("retention.stopped", why=str(error))

    def run_once(self, stop: asyncio.Event) -> None:
        """One pass of what is due; it leaves the rest to the next one when `stop` is set.

        Raises:
            Conflict: another process is at it.
            ServiceError: whatever else keeps it from going on.
        """
        rows = Counter[str]()
        with closing(self._runner.run(interval=self._interval)) as steps:
            for step in steps:
                self._metrics.retention_rows_deleted.labels(step.policy).inc(step.rows)
                rows[step.policy] += step.rows
                if step.state:
                    tell = log.info if step.state == "ok" else log.warning
                    tell(
                        "retention.ended",
                        policy=step.policy,
                        state=step.state,
                        why=step.why or None,
                        rows=rows[step.policy],
                        trace=step.trace,
                    )
                if stop.is_set():
                    return
