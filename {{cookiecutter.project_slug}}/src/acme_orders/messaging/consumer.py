"""The life of a message: decode, claim, handle, commit, and only then acknowledge."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from structlog.contextvars import bound_contextvars

from acme_orders.database.manager import Manager, retryable
from acme_orders.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    MessageError,
)
from acme_orders.messaging.broker import Broker, Delivery
from acme_orders.messaging.envelope import Envelope, Handler, decode
from acme_orders.messaging.inbox import Inbox
from acme_orders.messaging.recovery import Recovery
from acme_orders.messaging.tenants import per_tenant  # feature: row, rls, schema
from acme_orders.observability.metrics import Metrics

log = structlog.get_logger()

_LONGEST_PAUSE = 30.0  # seconds between two looks at whether an outage is over


@dataclass(frozen=True, slots=True)
class Limits:
    """What the consumer takes upon itself.

    Args:
        concurrency: batches at once.
        batch_size: most messages in one transaction.
        prefetch: most deliveries not yet acknowledged.
        handler_timeout: seconds for one message.
        conflict_retries: how often a batch runs again after a conflict.
        hold_timeout: seconds that messages are held in an outage before they are given back.
        max_body_bytes: larger messages are dead letters.
    """

    concurrency: int
    batch_size: int
    prefetch: int
    handler_timeout: float
    conflict_retries: int
    hold_timeout: float
    max_body_bytes: int


class Consumer:
    """Processes the messages of one queue."""

    def __init__(
        self,
        *,
        queue: str,
        broker: Broker,
        manager: Manager,
        inbox: Inbox,
        handlers: Mapping[str, Handler],
        recovery: Recovery,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._queue, self._broker, self._manager, self._inbox = queue, broker, manager, inbox
        self._handlers, self._recovery = handlers, recovery
        self._limits, self._metrics = limits, metrics
        self._delivered: asyncio.Queue[Delivery] = asyncio.Queue()
        self._unsettled: set[Delivery] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish what has been delivered.

        When it is cancelled instead, work in progress rolls back, and what is not acknowledged
        goes back to the queue with the connection.
        """
        subscription = await self._broker.consume(
            self._queue, prefetch=self._limits.prefetch, deliver=self._deliver
        )
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work()) for _ in range(self._limits.concurrency)]
            await stop.wait()
            await subscription.cancel()
            await self._delivered.join()
            for worker in workers:
                worker.cancel()

    async def process(self, deliveries: Sequence[Delivery]) -> None:
        """Commit the effects of all these deliveries at once, then acknowledge them.

        If anything fails, none of the effects is committed, and each message is processed alone:
        a bad one never hurts its neighbours.

        Raises:
            DatabaseUnavailable: an outage; nothing is settled.
            BrokerUnavailable: likewise.
        """
        if decoded := await self._decode(deliveries):
            await self._commit(decoded)

    @per_tenant  # feature: row, rls, schema
    async def _commit(self, batch: Mapping[Delivery, Envelope]) -> None:
        try:
            fresh = await self._manager.run(
                "consume",
                retryable(lambda: self._handle(list(batch.values()))),
                retries=self._limits.conflict_retries,
                deadline=self._limits.handler_timeout,
                items=len(batch),
            )
        except (DatabaseUnavailable, BrokerUnavailable):
            raise
        except Exception as error:
            if len(batch) == 1:
                await self._fail(next(iter(batch)), error)
                return
            for delivery, envelope in batch.items():
                await self._commit({delivery: envelope})
        else:
            for delivery, envelope in batch.items():
                await self._ack(delivery, "done" if id(envelope) in fresh else "duplicate")

    async def _decode(self, deliveries: Sequence[Delivery]) -> dict[Delivery, Envelope]:
        decoded = {}
        for delivery in deliveries:
            try:
                decoded[delivery] = decode(
                    delivery.message, self._handlers, max_body_bytes=self._limits.max_body_bytes
                )
            except MessageError as error:
                await self._fail(delivery, error)
        return decoded

    async def _handle(self, envelopes: Sequence[Envelope]) -> set[int]:
        fresh = await self._inbox.claim(envelopes)
        for envelope in fresh:
            with (
                bound_contextvars(
                    message_id=envelope.id,
                    correlation_id=envelope.correlation_id,
                    type=envelope.type,
                    attempt=envelope.attempt,
                ),
                self._metrics.handler_duration.labels(envelope.type).time(),
            ):
                async with asyncio.timeout(self._limits.handler_timeout):
                    await self._handlers[envelope.type].handle(envelope.payload)
        return {id(envelope) for envelope in fresh}

    # Taking and settling

    def _deliver(self, delivery: Delivery) -> None:
        """Only remember it. Work in the broker's callback would be cancelled with the channel."""
        self._metrics.messages_received.labels(delivery.queue).inc()
        self._metrics.messages_in_flight.inc()
        self._unsettled.add(delivery)
        self._delivered.put_nowait(delivery)

    async def _work(self) -> None:
        while True:
            batch = [await self._delivered.get()]
            while len(batch) < self._limits.batch_size and not self._delivered.empty():
                batch.append(self._delivered.get_nowait())
            self._metrics.batch_messages.observe(len(batch))
            await self._hold_until_settled(batch)
            for _ in batch:
                self._delivered.task_done()

    async def _hold_until_settled(self, batch: Sequence[Delivery]) -> None:
        """Wait an outage out with the messages in hand, so that it costs them no attempt."""
        began, pause = time.monotonic(), 0.5
        while open_ := [delivery for delivery in batch if delivery in self._unsettled]:
            if time.monotonic() - began > self._limits.hold_timeout:
                for delivery in open_:
                    await self._release(delivery)
                break
            try:
                await self.process(open_)
            except (DatabaseUnavailable, BrokerUnavailable) as outage:
                log.warning("consumer.paused", messages=len(open_), why=str(outage))
                self._metrics.consumer_paused.set(1)
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._metrics.consumer_paused.set(0)

    async def _fail(self, delivery: Delivery, error: Exception) -> None:
        await self._ack(delivery, await self._recovery.move(delivery, error))

    async def _ack(self, delivery: Delivery, outcome: str) -> None:
        try:
            await delivery.ack()
        except BrokerUnavailable:
            # What had to be done is done. The broker delivers again and the inbox drops it.
            self._metrics.acks_lost.inc()
        self._settle(delivery, outcome)

    async def _release(self, delivery: Delivery) -> None:
        try:
            await delivery.release()
        except BrokerUnavailable:
            self._metrics.acks_lost.inc()
        self._settle(delivery, "released")

    def _settle(self, delivery: Delivery, outcome: str) -> None:
        self._unsettled.discard(delivery)
        self._metrics.messages_in_flight.dec()
        known = delivery.message.type if delivery.message.type in self._handlers else "other"
        self._metrics.messages_processed.labels(known, outcome).inc()
