"""What the service tells of retention and erasure in its metrics, whoever has run them."""

import asyncio
import time
from collections.abc import Sequence

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.background import begun, ended
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.runner import APPLICATION

_EVERY = 30.0  # seconds; it is about hours
_SINCE = """
SELECT name, extract(epoch FROM now() - coalesce(
    (SELECT ended_at FROM public.retention_run WHERE policy = name AND state = 'ok'
        ORDER BY started_at DESC LIMIT 1),
    (SELECT max(applied_at) FROM public.schema_migrations)
))::float8
FROM unnest(%s::text[]) AS name
"""
_OPEN = """
SELECT coalesce(extract(epoch FROM now() - min(requested_at)), 0)::float8, greatest(0, coalesce(
    extract(epoch FROM now() - min(due_at) FILTER (WHERE state <> 'held')), 0))::float8
FROM public.erasure_request WHERE ended_at IS NULL
"""


class RetentionReport:
    """Brings the metrics up to date when somebody asks for them.

    Args:
        url: of the database.
        policies: names of all.
        interval: seconds between two passes.
        metrics: to be set.
    """

    def __init__(
        self, url: str, *, policies: Sequence[str], interval: float, metrics: Metrics
    ) -> None:
        self._url, self.policies = url, list(policies)
        self._interval, self._metrics = interval, metrics
        self._reading: asyncio.Future[None] | None = None
        self._next = 0.0

    async def update(self) -> None:
        """Read the log of passes and the requests that are open, now and then.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if self._reading is None or self._reading.done():
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _EVERY
            self._reading = begun(self.read)
        await ended(self._reading)  # who asks meanwhile waits for the same answer

    def read(self) -> None:
        """Read both; since the last migration, where no pass has ever ended well.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        with (
            backfill_session(self._url, application=APPLICATION) as session,
            session.transaction(entered(SHARED), Limits(), statement=5),
        ):
            since = session.rows(_SINCE, (self.policies,))
            ((oldest, overdue),) = session.rows(_OPEN)
        self._metrics.erasure_oldest.set(oldest)
        self._metrics.erasure_overdue.set(overdue)
        for policy, seconds in since:
            overdue = max(0.0, seconds - 2 * self._interval)
            self._metrics.retention_overdue.labels(policy).set(overdue)
