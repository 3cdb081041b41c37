"""Takes deliveries, hands them to workers in natural batches, and sees each of them through."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from acme_orders.errors import BrokerUnavailable, FailingTooOften
from acme_orders.messaging.batches import Batches
from acme_orders.messaging.broker import Broker, Delivery, Subscription
from acme_orders.messaging.recovery import OUTAGES
from acme_orders.observability.metrics import Metrics
from acme_orders.supervision import Supervisor, cancelled

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between two looks at whether an outage is over

Work = Callable[[Sequence[Delivery]], Awaitable[None]]


class Intake:
    """The way of deliveries into the service.

    Args:
        queue: to take from.
        broker: where it is.
        process: settles deliveries; raises one of OUTAGES if it can't now.
        put_back: sends a message to the end of the queue, and acks it.
        workers: batches at once.
        batch_size: most deliveries in one.
        linger: seconds that deliveries wait for company while others are being processed.
        prefetch: most deliveries not settled.
        hold_timeout: seconds in an outage until messages are put back; below the 30 minutes after
            which RabbitMQ takes them away.
        stall_timeout: seconds without a delivery, although messages wait, until we consume anew.
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
        workers: int,
        batch_size: int,
        linger: float,
        prefetch: int,
        hold_timeout: float,
        stall_timeout: float,
        metrics: Metrics,
        supervisor: Supervisor,
    ) -> None:
        self._queue, self._broker = queue, broker
        self._process, self._put_back = process, put_back
        self._workers, self._prefetch = workers, prefetch
        self._hold_timeout, self._stall_timeout = hold_timeout, stall_timeout
        self._metrics, self._supervisor = metrics, supervisor
        self._received = metrics.messages_received.labels(queue)
        self._batches = Batches(size=batch_size, linger=linger)
        self._in_hand, self._empty = 0, asyncio.Event()
        self._empty.set()
        self._holding = {"outage": 0, "failures": 0}
        self._last_delivery = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Take deliveries until `stop` is set, then finish those that are here.

        When it is cancelled instead, work in progress rolls back, and what is not acknowledged
        goes back to the queue with the connection.
        """
        subscription = await self._broker.consume(
            self._queue, prefetch=self._prefetch, deliver=self._deliver
        )
        try:
            async with asyncio.TaskGroup() as group:
                keep, name = self._supervisor.keep, f"consume {self._queue}"
                parts = [*([partial(self._work, stop)] * self._workers),
                         partial(self._watch, subscription)]  # fmt: skip
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
            try:
                await self._see_through(batch, stop)
            except BaseException:
                if not cancelled():  # nobody foresaw this: others will have these messages
                    await self._release([each for each in batch if each.open])
                raise
            finally:
                self._batches.done()
                self._metrics.messages_in_flight.dec(len(batch))
                self._in_hand -= len(batch)
                if not self._in_hand:
                    self._empty.set()

    async def _see_through(self, batch: Sequence[Delivery], stop: asyncio.Event) -> None:
        """Wait an outage out with the messages in hand, so that it costs them no attempt.

        Those whose channel is gone are left alone: the broker delivers them again.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        while held := [delivery for delivery in batch if delivery.open]:
            try:
                if time.monotonic() - began > self._hold_timeout:
                    for delivery in held:
                        await self._put_back(delivery)
                else:
                    await self._process(held)
            except OUTAGES as outage:
                if stop.is_set():
                    await self._release([delivery for delivery in held if delivery.open])
                    return
                log.warning("consumer.paused", messages=len(held), why=str(outage))
                if isinstance(outage, FailingTooOften):
                    await self._hold("failures", outage.seconds, stop)
                else:
                    await self._hold("outage", random.uniform(pause / 2, pause), stop)  # noqa: S311
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def _hold(self, reason: str, seconds: float, stop: asyncio.Event) -> None:
        """Wait, and let it be seen that the consumer waits."""
        gauge = self._metrics.consumer_paused.labels(reason)
        self._holding[reason] += 1
        gauge.set(1)
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
        finally:
            self._holding[reason] -= 1
            gauge.set(min(1, self._holding[reason]))

    async def _release(self, held: Sequence[Delivery]) -> None:
        for delivery in held:
            try:
                await delivery.release()
            except BrokerUnavailable:  # it comes back with its connection
                self._metrics.acks_lost.inc()

    async def _watch(self, subscription: Subscription) -> None:
        """Consume anew when messages wait and none is delivered, whatever the reason may be."""
        seconds = self._stall_timeout
        while True:
            await asyncio.sleep(seconds)
            idle = time.monotonic() - self._last_delivery > seconds
            if not idle or self._in_hand >= self._prefetch or not self._broker.connected:
                continue
            try:
                waiting = await self._broker.count(self._queue)
            except BrokerUnavailable:
                continue
            if waiting and time.monotonic() - self._last_delivery > seconds:
                log.error("consumer.stalled", queue=self._queue, waiting=waiting)
                self._metrics.consumer_stalls.labels(self._queue).inc()
                await subscription.restart()
