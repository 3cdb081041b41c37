"""The life of a message: decode, claim, handle, commit, and only then acknowledge."""

import asyncio
import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

from structlog.contextvars import bound_contextvars

from acme_orders.chassis.database.manager import Manager, retryable
from acme_orders.chassis.errors import BrokerUnavailable, MessageError
from acme_orders.chassis.messaging.broker import Broker, Delivery, Message
from acme_orders.chassis.messaging.envelope import Envelope, Handler, decode
from acme_orders.chassis.messaging.failures import is_doubtful
from acme_orders.chassis.messaging.inbox import Inbox
from acme_orders.chassis.messaging.intake import Intake
from acme_orders.chassis.messaging.recovery import Recovery
from acme_orders.chassis.messaging.settings import MessagingSettings
from acme_orders.chassis.messaging.triage import Triage
from acme_orders.chassis.messaging.waiting_room import Held
from acme_orders.chassis.observability import spans  # feature: tracing
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import Supervisor, apart
from acme_orders.chassis.tenancy import messages as tenants  # feature: row, rls, schema

_LATE_ACKS = 10_000  # remembered; a channel has never more than its prefetch under way


class Consumer:
    """Processes the messages of one queue."""

    def __init__(
        self,
        *,
        part: str,
        queue: str,
        broker: Broker,
        manager: Manager,
        inbox: Inbox,
        handlers: Mapping[str, Handler],
        recovery: Recovery,
        triage: Triage,
        settings: MessagingSettings,
        metrics: Metrics,
        supervisor: Supervisor,
    ) -> None:
        self._part = part
        self._queue, self._broker, self._manager, self._inbox = queue, broker, manager, inbox
        self._handlers, self._recovery = handlers, recovery
        self._triage, self._settings, self._metrics = triage, settings, metrics
        self._supervisor = supervisor
        self._late_acks: OrderedDict[tuple[object, ...], None] = OrderedDict()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish what has been delivered."""
        intake = Intake(
            queue=self._queue,
            broker=self._broker,
            process=self.process,
            put_back=self._put_back,
            settings=self._settings,
            part=self._part,
            metrics=self._metrics,
            supervisor=self._supervisor,
        )
        await intake.run(stop)

    async def process(self, deliveries: Sequence[Delivery]) -> Held:
        """Commit the effects of all these deliveries at once, then acknowledge them.

        If anything fails, none of the effects is committed, and each message is processed alone:
        a bad one never hurts its neighbours.

        Returns:
            Those that cannot be settled now, and what each has to wait for.
        """
        held: Held = {}
        together: dict[Delivery, Envelope] = {}
        alone: list[dict[Delivery, Envelope]] = []
        for delivery, envelope in (await self._decode(deliveries, held)).items():
            if circuit := await self._triage.blocks(delivery, envelope):
                held[delivery] = circuit
            elif self._triage.alone(envelope):
                alone.append({delivery: envelope})
            else:
                together[delivery] = envelope
        for batch in (together, *alone):
            if batch:
                await self._commit(batch, held)
        self._triage.tried(deliveries)
        return held

    async def has_processed(self, message: Message) -> bool:
        """Whether the effects of a message are committed; raises DatabaseUnavailable."""
        try:
            return await self._knows(self._read(message))
        except MessageError:
            return False

    @tenants.in_its_tenant  # feature: row, rls, schema
    async def _knows(self, envelope: Envelope) -> bool:
        async with self._manager.transaction("consume.look", read_only=True):
            return await self._inbox.knows(envelope)

    def _read(self, message: Message) -> Envelope:
        return decode(
            message,
            self._handlers,
            max_body_bytes=self._settings.max_body_bytes,
            max_header_bytes=self._settings.max_header_bytes,
        )

    @tenants.per_tenant  # feature: row, rls, schema
    async def _commit(self, batch: Mapping[Delivery, Envelope], held: Held) -> None:
        self._metrics.batch_messages.observe(len(batch))
        envelopes, began = list(batch.values()), time.monotonic()
        try:
            fresh = await apart(partial(self._run, envelopes))
        except Exception as error:
            if len(batch) == 1:
                await self._fail(next(iter(batch)), envelopes[0], error, held)
            elif is_doubtful(error) and not await self._triage.postgresql_answers():
                held.update(dict.fromkeys(batch, self._triage.postgresql))
            else:
                for delivery, envelope in batch.items():
                    if circuit := await self._triage.blocks(delivery, envelope):
                        held[delivery] = circuit
                    else:
                        await self._commit({delivery: envelope}, held)
        else:
            # A duplicate has proved nothing: its handler was not asked.
            done = [each for each in envelopes if id(each) in fresh]
            self._triage.succeeded(done, began=began)
            await self._ack_all(batch, fresh)

    async def _decode(self, deliveries: Sequence[Delivery], held: Held) -> dict[Delivery, Envelope]:
        """Those that can be processed now; the others are settled."""
        decoded = {}
        for delivery in deliveries:
            if not delivery.open:  # its channel is gone; the broker delivers it again
                continue
            if self._is_suspect(delivery):
                await self._settle(delivery, self._recovery.set_apart(delivery), held)
                continue
            try:
                envelope = self._read(delivery.message)
            except Exception as error:
                await self._settle(delivery, self._recovery.move(delivery, error), held)
                continue
            if envelope.key in self._late_acks:
                self._metrics.late_acks.inc()
                await self._ack(delivery, "duplicate")
            else:
                decoded[delivery] = envelope
        return decoded

    def _is_suspect(self, delivery: Delivery) -> bool:
        """Whether it came back so often that it may be what ends the process each time."""
        return delivery.returns >= self._settings.suspect_after

    @spans.of_batch  # feature: tracing
    async def _run(self, envelopes: Sequence[Envelope]) -> set[int]:
        return await self._manager.run(
            "consume",
            retryable(lambda: self._handle(envelopes)),
            retries=self._settings.conflict_retries,
            deadline=self._settings.handler_timeout,
            items=len(envelopes),
        )

    async def _handle(self, envelopes: Sequence[Envelope]) -> set[int]:
        fresh = await self._inbox.claim(envelopes)
        for type_, some in itertools.groupby(fresh, key=lambda each: each.type):
            alike, handler = list(some), self._handlers[type_]
            if handler.handle_all and len(alike) > 1:
                began = time.perf_counter()
                async with asyncio.timeout(self._settings.handler_timeout):
                    await handler.handle_all(alike)
                share = (time.perf_counter() - began) / len(alike)
                observe = self._metrics.handler_duration.labels(type_).observe
                for _ in alike:
                    observe(share)
            else:
                for envelope in alike:
                    await self._handle_one(envelope, handler)
        return {id(envelope) for envelope in fresh}

    @spans.of_message  # feature: tracing
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
            async with asyncio.timeout(self._settings.handler_timeout):
                await handler.handle(envelope.payload)

    # Settling

    async def _fail(
        self, delivery: Delivery, envelope: Envelope, error: Exception, held: Held
    ) -> None:
        until = await self._triage.judge(envelope, error)
        if until is None:
            await self._settle(delivery, self._recovery.move(delivery, error), held)
        else:
            held[delivery] = until

    async def _settle(self, delivery: Delivery, copying: Awaitable[str], held: Held) -> None:
        try:
            outcome = await copying
        except BrokerUnavailable as error:
            self._triage.rabbitmq.trip(str(error))
            held[delivery] = self._triage.rabbitmq
        else:
            self._triage.rabbitmq.close()
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
        now, observe = time.time(), self._metrics.message_age.observe
        for each in batch.values():
            if each.time is not None:
                observe(max(0.0, now - each.time.timestamp()))
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
