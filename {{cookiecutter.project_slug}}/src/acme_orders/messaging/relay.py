"""From the outbox to the broker: lease, publish, confirm, delete. Any number may run at once."""

import asyncio
import random
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import structlog

from acme_orders.database.manager import Manager
from acme_orders.database.tenancy import in_system_scope  # feature: row, rls, schema
from acme_orders.errors import (
    BrokerUnavailable,
    Conflict,
    DatabaseUnavailable,
    PublishFailed,
    StatementTimeout,
)
from acme_orders.messaging.broker import Broker
from acme_orders.messaging.envelope import encode
from acme_orders.messaging.outbox import Outgoing, Pending
from acme_orders.observability.metrics import Metrics

log = structlog.get_logger()
Result = tuple[Outgoing, BrokerUnavailable | None]

# A migration that locks the table is no reason to end either.
_PASSING = (BrokerUnavailable, Conflict, DatabaseUnavailable, StatementTimeout)
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
        poll: most seconds until rows of other processes are looked for.
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
        """Publish until `stop` is set; a round that found something is followed at once by another.

        In an outage nothing is taken, and events that are committed do not wake it up.
        """
        while not stop.is_set():
            try:
                self._committed.clear()
                taken = await self.run_once() if self._broker.connected else 0
                await self._report()
            except _PASSING as outage:
                log.warning("relay.paused", reason=str(outage), seconds=self._poll)
                await self._rest(stop)
            else:
                if not taken:
                    await self._rest(stop, *([self._committed] if self._broker.connected else []))

    @in_system_scope("relay")  # feature: row, rls, schema
    async def run_once(self) -> int:
        """Publish one batch; returns how many rows it took.

        Raises:
            BrokerUnavailable: an outage; the rows that it hit wait as if nobody had taken them.
        """
        lease = uuid4()
        async with self._manager.transaction("relay.lease"):
            rows = await self._pending.lease(lease, seconds=self._lease, limit=self._batch)
        if not rows:
            return 0
        failures = await asyncio.gather(*(self._publish(row) for row in rows))
        async with self._manager.transaction("relay.settle", items=len(rows)):
            await self._settle(lease, list(zip(rows, failures, strict=True)))
        for failure in failures:
            if failure is not None and not isinstance(failure, PublishFailed):
                raise failure
        return len(rows)

    async def _publish(self, row: Outgoing) -> BrokerUnavailable | None:
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
            return error
        self._metrics.outbox_published.labels(row.type).inc()
        return None

    async def _settle(self, lease: UUID, results: Sequence[Result]) -> None:
        confirmed = [row.row for row, failure in results if failure is None]
        refused = [(row, failure) for row, failure in results if isinstance(failure, PublishFailed)]
        settled = {*confirmed, *(row.row for row, _ in refused)}
        if confirmed:
            lost = len(confirmed) - await self._pending.published(lease, confirmed)
            if lost:
                self._metrics.outbox_leases_lost.inc(lost)
                log.warning("relay.lease_lost", rows=lost, seconds=self._lease)
        for row, failure in refused:
            await self._postpone(lease, row, str(failure))
        if untried := [row.row for row, _ in results if row.row not in settled]:
            await self._pending.give_back(lease, untried)

    async def _postpone(self, lease: UUID, row: Outgoing, why: str) -> None:
        attempt = row.attempts + 1
        if attempt & row.attempts == 0:  # 1, 2, 4, 8…: it may go on for weeks
            log.warning(
                "relay.refused",
                type=row.type,
                message_id=row.message_id,
                attempt=attempt,
                why=why,
            )
        longest = min(_LONGEST_BACKOFF, 2.0 ** min(row.attempts, 9))
        seconds = random.uniform(longest / 2, longest)  # noqa: S311
        await self._pending.failed(lease, row.row, error=why, seconds=seconds)

    async def _report(self) -> None:
        if time.monotonic() - self._reported < _REPORT_EVERY:
            return
        async with self._manager.transaction("relay.report", read_only=True):
            backlog = await self._pending.backlog()
        self._reported = time.monotonic()
        self._metrics.outbox_pending.set(backlog.rows)
        self._metrics.outbox_oldest.set(backlog.oldest_seconds)
        self._metrics.outbox_blocked.set(backlog.blocked)

    async def _rest(self, *events: asyncio.Event) -> None:
        """Until one of these is set, or the poll interval is over: a random part of it.

        Relays that are started together would otherwise ask PostgreSQL together for ever.
        """
        seconds = random.uniform(self._poll / 2, self._poll)  # noqa: S311
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
