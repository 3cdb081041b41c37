"""Takes deliveries, hands them to workers in natural batches, and sees each of them through."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.messaging.batches import Batches
from acme_orders.chassis.messaging.broker import Broker, Delivery, Subscription
from acme_orders.chassis.messaging.settings import MessagingSettings
from acme_orders.chassis.messaging.waiting_room import Until, WaitingRoom
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import Supervisor

log = structlog.get_logger()

_LOOK = 0.1  # seconds between two looks at who waits; far below what anybody waits for
_UNFORESEEN = 1.0  # seconds until messages are tried again that met a bug of this package

Work = Callable[[Sequence[Delivery]], Awaitable[Mapping[Delivery, Until]]]


class Intake:
    """The way of deliveries into the service.

    Args:
        queue: to take from.
        broker: where it is.
        process: settles deliveries; returns those that it cannot settle now, and what each has to
            wait for. They wait in hand, and keep no worker.
        put_back: sends a message to the end of the queue, and acks it.
        settings: how many it takes, and for how long.
        part: name of its sign of life.
        metrics: where it counts.
        supervisor: starts workers again that have ended.
    """

    def __init__(
        self,
        *,
        queue: str,
        broker: Broker,
        process: Work,
        put_back: Callable[[Delivery], Awaitable[None]],
        settings: MessagingSettings,
        part: str,
        metrics: Metrics,
        supervisor: Supervisor,
    ) -> None:
        self._queue, self._broker = queue, broker
        self._process, self._put_back = process, put_back
        self._settings, self._metrics, self._supervisor = settings, metrics, supervisor
        self._heartbeat = metrics.part_heartbeat.labels(part)
        self._received = metrics.messages_received.labels(queue)
        self._batches = Batches(size=settings.batch_size, linger=settings.linger)
        self._room = WaitingRoom(capacity=settings.prefetch_count, longest=settings.hold_timeout)
        self._in_hand, self._empty = 0, asyncio.Event()
        self._empty.set()
        self._last_delivery = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Take deliveries until `stop` is set, then finish those that are here.

        When it is cancelled instead, work in progress rolls back, and what is not acknowledged
        goes back to the queue with the connection.
        """
        subscription = await self._broker.consume(
            self._queue, prefetch=self._settings.prefetch_count, deliver=self._deliver
        )
        try:
            async with asyncio.TaskGroup() as group:
                keep, name = self._supervisor.keep, f"consume {self._queue}"
                parts = [partial(self._work, stop)] * self._settings.concurrency
                parts += [partial(self._usher, stop), partial(self._watch, subscription)]
                tasks = [group.create_task(keep(name, part)) for part in parts]
                await stop.wait()
                await subscription.cancel()
                await self._empty.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await subscription.close()

    def _deliver(self, delivery: Delivery) -> None:
        """Only remember it. Work in the broker's callback would be cancelled with the channel."""
        self._received.inc()
        self._metrics.messages_in_flight.inc()
        if delivery.returns:
            self._metrics.messages_returned.labels(delivery.queue).inc()
        self._in_hand += 1
        self._empty.clear()
        self._last_delivery = time.monotonic()
        self._batches.put(delivery)

    async def _work(self, stop: asyncio.Event) -> None:
        while True:
            batch = await self._batches.take()
            held: Mapping[Delivery, Until] = dict.fromkeys(batch, _UNFORESEEN)
            try:
                held = await self._process(batch)
            except Exception:  # a bug; no message may stop a worker
                log.exception("consumer.failed", messages=len(batch))
            finally:
                self._batches.done()
                for delivery in batch:
                    await self._keep(delivery, held.get(delivery), stop)

    async def _keep(self, delivery: Delivery, until: Until | None, stop: asyncio.Event) -> None:
        """Keep a delivery in hand that is not settled; when we stop, others shall have it."""
        if until is None or not delivery.open:
            self._leave(delivery)
        elif stop.is_set():
            await self._release(delivery)
        else:
            self._room.add(delivery, until)

    async def _usher(self, stop: asyncio.Event) -> None:
        """Call in whose turn it is, and send away who has waited too long; all, when we stop."""
        while True:
            self._heartbeat.set_to_current_time()
            if stop.is_set():
                for delivery in self._room.everyone():
                    await self._release(delivery)
            for delivery in self._room.called():
                self._batches.put(delivery)
            for delivery in self._room.tired():
                try:
                    await self._put_back(delivery)
                except BrokerUnavailable:
                    break  # the next look is soon
                self._leave(delivery)
            await asyncio.sleep(_LOOK)

    async def _release(self, delivery: Delivery) -> None:
        try:
            await delivery.release()
        except BrokerUnavailable:  # it comes back with its connection
            self._metrics.acks_lost.inc()
        self._leave(delivery)

    def _leave(self, delivery: Delivery) -> None:
        self._room.leave(delivery)
        self._metrics.messages_in_flight.dec()
        self._in_hand -= 1
        if not self._in_hand:
            self._empty.set()

    async def _watch(self, subscription: Subscription) -> None:
        """Consume anew when messages wait and none is delivered, whatever the reason may be."""
        seconds = self._settings.stall_timeout
        while True:
            await asyncio.sleep(seconds)
            idle = time.monotonic() - self._last_delivery > seconds
            if (
                not idle
                or self._in_hand >= self._settings.prefetch_count
                or not self._broker.connected
            ):
                continue
            try:
                waiting = await self._broker.count(self._queue)
            except BrokerUnavailable:
                continue
            if waiting and time.monotonic() - self._last_delivery > seconds:
                log.error("consumer.stalled", queue=self._queue, waiting=waiting)
                self._metrics.consumer_stalls.labels(self._queue).inc()
                await subscription.restart()
