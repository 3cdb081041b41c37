"""From the outbox to the broker: lease, publish, confirm, delete. Any number may run at once."""

import asyncio
import contextlib
import random
import time
from uuid import UUID, uuid4

import structlog

from acme_orders.database.manager import Manager
from acme_orders.database.tenancy import in_system_scope  # feature: row, rls, schema
from acme_orders.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    PublishFailed,
)
from acme_orders.messaging.broker import Broker
from acme_orders.messaging.envelope import encode
from acme_orders.messaging.outbox import Outgoing, Pending
from acme_orders.observability.metrics import Metrics

log = structlog.get_logger()

_LONGEST_BACKOFF = 300.0  # seconds; a broker that is back is found within minutes
_REPORT_EVERY = 5.0  # seconds; counting the backlog is a query too


class Relay:
    """Publishes outbox rows at least once, always under the same message id.

    Args:
        manager: its transactions are short; none is open while a message is published.
        pending: where the rows are.
        committed: set when this process has committed an event.
        broker: where they go.
        exchange: that consumers of our events bind their queues to.
        source: the name that we publish under.
        batch: most rows in one round; they are in flight together.
        lease: seconds after which another relay may take over.
        poll: seconds until rows of other processes are looked for.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        manager: Manager,
        pending: Pending,
        committed: asyncio.Event,
        broker: Broker,
        exchange: str,
        source: str,
        batch: int,
        lease: float,
        poll: float,
        metrics: Metrics,
    ) -> None:
        self._manager, self._pending, self._broker = manager, pending, broker
        self._committed = committed
        self._exchange, self._source = exchange, source
        self._batch, self._lease, self._poll, self._metrics = batch, lease, poll, metrics
        self._reported = 0.0

    @in_system_scope("relay")  # feature: row, rls, schema
    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set. A full round is followed at once by the next."""
        while not stop.is_set():
            try:
                self._committed.clear()
                taken = await self.run_once()
                await self._report()
                if taken == self._batch:
                    continue
            except (DatabaseUnavailable, BrokerUnavailable) as outage:
                log.warning("relay.paused", reason=str(outage))
            await self._rest(stop)

    @in_system_scope("relay")  # feature: row, rls, schema
    async def run_once(self) -> int:
        """Publish one batch; returns how many rows it took."""
        lease = uuid4()
        async with self._manager.transaction("relay.lease"):
            rows = await self._pending.lease(lease, seconds=self._lease, limit=self._batch)
        if not rows:
            return 0
        failures = await asyncio.gather(*(self._publish(row) for row in rows))
        async with self._manager.transaction("relay.settle", items=len(rows)):
            confirmed = [
                row.row for row, failure in zip(rows, failures, strict=True) if not failure
            ]
            if confirmed:
                await self._pending.published(lease, confirmed)
            for row, failure in zip(rows, failures, strict=True):
                if failure:
                    await self._postpone(lease, row, failure)
        return len(rows)

    async def _publish(self, row: Outgoing) -> str | None:
        message = encode(
            row.message_id,
            row.type,
            self._source,
            row.created_at,
            row.body.encode(),
            extensions=row.extensions,
        )
        try:
            await self._broker.publish(message, exchange=self._exchange, routing_key=row.type)
        except BrokerUnavailable as error:
            self._metrics.outbox_publish_failures.labels(row.type).inc()
            if isinstance(error, PublishFailed):
                log.warning(
                    "relay.refused", type=row.type, message_id=row.message_id, why=str(error)
                )
            return str(error)
        self._metrics.outbox_published.labels(row.type).inc()
        return None

    async def _postpone(self, lease: UUID, row: Outgoing, error: str) -> None:
        longest = min(_LONGEST_BACKOFF, 2.0 ** min(row.attempts, 9))
        seconds = random.uniform(longest / 2, longest)  # noqa: S311
        await self._pending.failed(lease, row.row, error=error, seconds=seconds)

    async def _report(self) -> None:
        if time.monotonic() - self._reported < _REPORT_EVERY:
            return
        async with self._manager.transaction("relay.report", read_only=True):
            backlog = await self._pending.backlog()
        self._reported = time.monotonic()
        self._metrics.outbox_pending.set(backlog.rows)
        self._metrics.outbox_oldest.set(backlog.oldest_seconds)

    async def _rest(self, stop: asyncio.Event) -> None:
        """Until something is committed in this process, the poll interval is over, or the end."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._committed)]
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait(waits, timeout=self._poll, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
