"""The part of the process that deletes what has been kept long enough."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial

import structlog

from acme_orders.chassis.background import begun
from acme_orders.chassis.errors import Conflict, ServiceError
from acme_orders.chassis.messaging.steady import rest
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.retention.finding import Finding
from acme_orders.chassis.retention.runner import Runner

_OLD = 2  # intervals after which somebody else has looked, or nobody does: RetentionOverdue
_LOOK = 60.0  # seconds; whoever runs it may have ended, and another process goes on
log = structlog.get_logger()


class Deleter:
    """Runs each policy that is due; in a fleet one process does.

    Args:
        runner: of all policies.
        looks: for what should not be there, one policy after the other.
        interval: seconds between two passes.
        metrics: where it counts.
    """

    def __init__(
        self,
        runner: Runner,
        looks: Sequence[Callable[[], Iterable[Finding]]],
        *,
        interval: float,
        metrics: Metrics,
    ) -> None:
        self._runner, self._looks = runner, looks
        self._interval, self._metrics = interval, metrics
        self._verified = float("-inf")
        self._shown: set[tuple[str, str]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look whether something is due, again and again, until `stop` is set."""
        while not stop.is_set():
            await rest(min(_LOOK, self._interval), stop)
            if stop.is_set():
                return
            try:
                await begun(partial(self.run_once, stop))
            except Conflict:
                self._forget()  # another process does it
            except ServiceError as error:
                log.warning("retention.stopped", why=str(error))

    def run_once(self, stop: asyncio.Event) -> None:
        """One pass of what is due, and a look at what is left.

        It leaves the rest to the next one when `stop` is set.

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
        if rows:
            self._look(stop)
        else:
            self._forget()

    def _look(self, stop: asyncio.Event) -> None:
        found = Counter[tuple[str, str]]()
        for look in self._looks:
            for each in look():
                found[each.policy, each.kind] += each.rows
                log.warning("retention.found", policy=each.policy, kind=each.kind, what=each.text)
            if stop.is_set():
                return
        self._show(found)
        self._verified = time.monotonic()

    def _forget(self) -> None:
        """What we have found is old, because other processes have looked since."""
        if time.monotonic() - self._verified > _OLD * self._interval:
            self._show(Counter())

    def _show(self, found: Counter[tuple[str, str]]) -> None:
        for labels in {*found, *self._shown}:
            self._metrics.retention_findings.labels(*labels).set(found[labels])
        self._shown = set(found)
