"""From the dead-letter queue to PostgreSQL: read, insert, commit, and only then acknowledge."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from acme_orders.database.manager import Manager
from acme_orders.database.tenancy import in_system_scope  # feature: row, rls, schema
from acme_orders.errors import (
    BrokerUnavailable,
    Conflict,
    DatabaseUnavailable,
    MessageError,
    ServiceError,
    StatementTimeout,
)
from acme_orders.messaging.broker import Broker, Delivery, Message
from acme_orders.messaging.dead_letter import (
    DELIVERY_LIMIT,
    REASONS,
    DeadLetter,
    read,
    stripped,
)
from acme_orders.messaging.dead_letters import DeadLetters
from acme_orders.observability.metrics import Metrics
from acme_orders.supervision import Supervisor, cancelled

log = structlog.get_logger()

LARGEST_BODY = 16 * 1024 * 1024  # bytes; sixteen times what is processed by default
_PREFETCH = 20  # each may have the 128 MiB that RabbitMQ allows
_LONGEST_PAUSE = 30.0  # seconds between two looks at whether an outage is over
_LONGEST_HOLD = 1200.0  # seconds; the broker takes back what is not acked after 1800
_REPORT_EVERY = 15.0  # seconds
_PASSING = (DatabaseUnavailable, Conflict, StatementTimeout)  # no message is to blame


class Archiver:
    """Moves dead letters from their queue to PostgreSQL. Nothing that one contains stops it.

    Args:
        queue: of the dead letters.
        broker: where it is.
        manager: its transactions hold one INSERT each.
        dead_letters: where they are stored.
        has_processed: whether the effects of a message are committed.
        metrics: where it counts.
        supervisor: starts again what has ended.
        largest_body: bytes; of a larger body the beginning is kept, and it cannot be replayed.
            It has to be no less than what the consumer accepts.
    """

    def __init__(
        self,
        *,
        queue: str,
        broker: Broker,
        manager: Manager,
        dead_letters: DeadLetters,
        has_processed: Callable[[Message], Awaitable[bool]],
        metrics: Metrics,
        supervisor: Supervisor,
        largest_body: int = LARGEST_BODY,
    ) -> None:
        self._queue, self._broker, self._manager = queue, broker, manager
        self._dead_letters, self._metrics = dead_letters, metrics
        self._supervisor = supervisor
        self._has_processed, self._largest_body = has_processed, largest_body
        self._reasons = REASONS | _reasons()
        self._delivered: asyncio.Queue[Delivery] = asyncio.Queue()

    @in_system_scope("archiver")  # feature: row, rls, schema
    async def run(self, stop: asyncio.Event) -> None:
        """Archive until `stop` is set, then finish what has been delivered.

        When it is cancelled instead, what is not acknowledged goes back with the connection.
        """
        subscription = await self._broker.consume(
            self._queue, prefetch=_PREFETCH, deliver=self._delivered.put_nowait
        )
        try:
            async with asyncio.TaskGroup() as group:
                keep = self._supervisor.keep
                tasks = [
                    group.create_task(keep("archiver", part)) for part in (self._work, self._report)
                ]
                await stop.wait()
                await subscription.cancel()
                await self._delivered.join()
                for task in tasks:
                    task.cancel()
        finally:
            await subscription.close()

    async def _work(self) -> None:
        while True:
            batch = [await self._delivered.get()]
            size = len(batch[0].message.body)
            while size < self._largest_body and not self._delivered.empty():
                batch.append(self._delivered.get_nowait())
                size += len(batch[-1].message.body)
            try:
                await self._hold_until_stored(batch)
            except BaseException:
                if not cancelled():  # nobody foresaw this: others will have these messages
                    await self._settle(each.release for each in batch if each.open)
                raise
            finally:
                for _ in batch:
                    self._delivered.task_done()

    async def _hold_until_stored(self, batch: Sequence[Delivery]) -> None:
        """Try until they are stored, or give them back before the broker takes them back."""
        # Read once: what has no id of its own gets one here, and keeps it in every attempt.
        letters = [read(each.message, largest_body=self._largest_body) for each in batch]
        began, pause = time.monotonic(), 0.5
        while True:
            try:
                await self._store([each for each in letters if not await self._is_needless(each)])
            except Exception as error:  # whatever it is, nothing was acknowledged
                log.warning("archiver.paused", messages=len(batch), why=str(error) or repr(error))
            else:
                await self._settle(delivery.ack for delivery in batch)
                return
            if time.monotonic() - began > _LONGEST_HOLD:
                await self._settle(delivery.release for delivery in batch)
                return
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _is_needless(self, letter: DeadLetter) -> bool:
        """Whether RabbitMQ gave a message up that was processed: only its acks were lost."""
        if letter.reason != DELIVERY_LIMIT or not letter.whole:
            return False
        processed = await self._has_processed(letter.message())
        if processed:
            log.info("archiver.needless", message_id=letter.message_id)
        return processed

    async def _store(self, letters: Sequence[DeadLetter]) -> None:
        try:
            if letters:
                await self._insert(letters)
        except _PASSING:
            raise
        except Exception as error:
            if len(letters) > 1:
                for each in letters:
                    await self._store([each])
                return
            log.warning("archiver.stripped", id=str(letters[0].id), why=type(error).__name__)
            await self._insert([stripped(letters[0])])

    async def _insert(self, letters: Sequence[DeadLetter]) -> None:
        async with self._manager.transaction("dead_letters.archive", items=len(letters)):
            new = await self._dead_letters.archive(letters)
        for each in letters:
            if each.id in new:
                known = each.reason if each.reason in self._reasons else "other"
                self._metrics.dead_letters_archived.labels(known).inc()

    async def _settle(self, settlements: Iterable[Callable[[], Awaitable[None]]]) -> None:
        for settle in settlements:
            try:
                await settle()
            except BrokerUnavailable:  # it comes again, and its row is there
                self._metrics.acks_lost.inc()

    async def _report(self) -> None:
        while True:
            with contextlib.suppress(ServiceError):  # an outage is told of where it hurts
                async with self._manager.transaction("dead_letters.report", read_only=True):
                    backlog = await self._dead_letters.backlog()
                self._metrics.dead_letters_waiting.set(backlog.count)
                self._metrics.dead_letters_oldest.set(backlog.oldest_seconds)
            await asyncio.sleep(_REPORT_EVERY)


def _reasons(error: type[MessageError] = MessageError) -> set[str]:
    """The reasons that this code knows; what else a message says is no label of a metric."""
    return {error.reason}.union(*map(_reasons, error.__subclasses__()))
