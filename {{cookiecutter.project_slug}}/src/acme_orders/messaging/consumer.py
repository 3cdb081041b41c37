"""The life of a message: decode, claim, handle, commit, and only then acknowledge."""

import asyncio
import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from structlog.contextvars import bound_contextvars

from acme_orders.database.manager import Manager, retryable
from acme_orders.errors import (
    Conflict,
    MessageError,
    TryLater,
)
from acme_orders.messaging.broker import Broker, Delivery, Message
from acme_orders.messaging.envelope import Envelope, Handler, decode
from acme_orders.messaging.failures import FailureRate
from acme_orders.messaging.inbox import Inbox
from acme_orders.messaging.intake import Intake
from acme_orders.messaging.recovery import OUTAGES, Recovery
from acme_orders.messaging.tenants import in_its_tenant, per_tenant  # feature: row, rls, schema
from acme_orders.observability.metrics import Metrics
from acme_orders.supervision import Supervisor, apart

_LATE_ACKS = 10_000  # remembered; a channel has never more than its prefetch under way


@dataclass(frozen=True, slots=True)
class Limits:
    """What a consumer takes upon itself.

    Args:
        concurrency: batches at once.
        batch_size: most messages in one transaction.
        linger: seconds that messages wait for company while others are being processed.
        prefetch: most deliveries not yet acknowledged.
        handler_timeout: seconds for one message.
        conflict_retries: how often a batch runs again after a conflict.
        hold_timeout: seconds that messages are held in an outage before they are put back.
        stall_timeout: seconds without a delivery, although messages wait, until we consume anew.
        max_body_bytes: larger messages are dead letters.
        max_header_bytes: likewise.
        suspect_after: how often a message may come back before it is set apart; None: never.
    """

    concurrency: int
    batch_size: int
    linger: float
    prefetch: int
    handler_timeout: float
    conflict_retries: int
    hold_timeout: float
    stall_timeout: float
    max_body_bytes: int
    max_header_bytes: int
    suspect_after: int | None


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
        failure_rate: FailureRate,
        limits: Limits,
        metrics: Metrics,
        supervisor: Supervisor,
    ) -> None:
        self._queue, self._broker, self._manager, self._inbox = queue, broker, manager, inbox
        self._handlers, self._recovery = handlers, recovery
        self._failure_rate, self._limits, self._metrics = failure_rate, limits, metrics
        self._supervisor = supervisor
        self._late_acks: OrderedDict[tuple[object, ...], None] = OrderedDict()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish what has been delivered."""
        intake = Intake(
            queue=self._queue,
            broker=self._broker,
            process=self.process,
            put_back=self._put_back,
            workers=self._limits.concurrency,
            batch_size=self._limits.batch_size,
            linger=self._limits.linger,
            prefetch=self._limits.prefetch,
            hold_timeout=self._limits.hold_timeout,
            stall_timeout=self._limits.stall_timeout,
            metrics=self._metrics,
            supervisor=self._supervisor,
        )
        await intake.run(stop)

    async def process(self, deliveries: Sequence[Delivery]) -> None:
        """Commit the effects of all these deliveries at once, then acknowledge them.

        If anything fails, none of the effects is committed, and each message is processed alone:
        a bad one never hurts its neighbours.

        Raises:
            DatabaseUnavailable: an outage; nothing is settled.
            BrokerUnavailable: likewise.
            FailingTooOften: likewise.
        """
        self._failure_rate.check()
        if decoded := await self._decode(deliveries):
            await self._commit(decoded)

    async def has_processed(self, message: Message) -> bool:
        """Whether the effects of a message are committed; raises DatabaseUnavailable."""
        try:
            return await self._knows(self._read(message))
        except MessageError:
            return False

    @in_its_tenant  # feature: row, rls, schema
    async def _knows(self, envelope: Envelope) -> bool:
        async with self._manager.transaction("consume.look", read_only=True):
            return await self._inbox.knows(envelope)

    def _read(self, message: Message) -> Envelope:
        return decode(
            message,
            self._handlers,
            max_body_bytes=self._limits.max_body_bytes,
            max_header_bytes=self._limits.max_header_bytes,
        )

    @per_tenant  # feature: row, rls, schema
    async def _commit(self, batch: Mapping[Delivery, Envelope]) -> None:
        self._metrics.batch_messages.observe(len(batch))
        try:
            fresh = await apart(partial(self._run, list(batch.values())))
        except OUTAGES:
            raise
        except Exception as error:
            if len(batch) == 1:
                await self._fail(next(iter(batch)), error)
                return
            for delivery, envelope in batch.items():
                self._failure_rate.check()
                await self._commit({delivery: envelope})
        else:
            self._failure_rate.succeeded(len(batch))
            await self._ack_all(batch, fresh)

    async def _decode(self, deliveries: Sequence[Delivery]) -> dict[Delivery, Envelope]:
        """Those that can be processed now; the others are settled."""
        decoded = {}
        for delivery in deliveries:
            if self._is_suspect(delivery):
                await self._ack(delivery, await self._recovery.set_apart(delivery))
                continue
            try:
                envelope = self._read(delivery.message)
            except MessageError as error:
                await self._fail(delivery, error)
                continue
            if envelope.key in self._late_acks:
                self._metrics.late_acks.inc()
                await self._ack(delivery, "duplicate")
            else:
                decoded[delivery] = envelope
        return decoded

    def _is_suspect(self, delivery: Delivery) -> bool:
        """Whether it came back so often that it may be what ends the process each time."""
        limit = self._limits.suspect_after
        return limit is not None and delivery.returns >= limit

    async def _run(self, envelopes: Sequence[Envelope]) -> set[int]:
        return await self._manager.run(
            "consume",
            retryable(lambda: self._handle(envelopes)),
            retries=self._limits.conflict_retries,
            deadline=self._limits.handler_timeout,
            items=len(envelopes),
        )

    async def _handle(self, envelopes: Sequence[Envelope]) -> set[int]:
        fresh = await self._inbox.claim(envelopes)
        for type_, some in itertools.groupby(fresh, key=lambda each: each.type):
            alike, handler = list(some), self._handlers[type_]
            if handler.handle_all and len(alike) > 1:
                began = time.perf_counter()
                async with asyncio.timeout(self._limits.handler_timeout):
                    await handler.handle_all(alike)
                share = (time.perf_counter() - began) / len(alike)
                for _ in alike:
                    self._metrics.handler_duration.labels(type_).observe(share)
            else:
                for envelope in alike:
                    await self._handle_one(envelope, handler)
        return {id(envelope) for envelope in fresh}

    async def _handle_one(self, envelope: Envelope, handler: Handler) -> None:
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
                await handler.handle(envelope.payload)

    # Settling

    async def _fail(self, delivery: Delivery, error: Exception) -> None:
        outcome = await self._recovery.move(delivery, error)
        if not isinstance(error, Conflict | MessageError | TryLater):
            self._failure_rate.failed(error)
        await self._ack(delivery, outcome)

    async def _put_back(self, delivery: Delivery) -> None:
        await self._ack(delivery, await self._recovery.put_back(delivery))

    async def _ack_all(self, batch: Mapping[Delivery, Envelope], fresh: set[int]) -> None:
        # What had to be done is done. What comes back, the inbox drops, or this memory.
        lost = await self._broker.ack(list(batch))
        for delivery in lost:
            self._late_acks[batch[delivery].key] = None
        while len(self._late_acks) > _LATE_ACKS:
            self._late_acks.popitem(last=False)
        self._metrics.acks_lost.inc(len(lost))
        outcomes = Counter(
            (each.type, "done" if id(each) in fresh else "duplicate") for each in batch.values()
        )
        for labels, number in outcomes.items():
            self._metrics.messages_processed.labels(*labels).inc(number)

    async def _ack(self, delivery: Delivery, outcome: str) -> None:
        lost = await self._broker.ack([delivery])
        self._metrics.acks_lost.inc(len(lost))
        known = delivery.message.type if delivery.message.type in self._handlers else "other"
        self._metrics.messages_processed.labels(known, outcome).inc()
