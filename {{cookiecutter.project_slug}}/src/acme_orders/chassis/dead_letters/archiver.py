"""From the dead-letter queue to PostgreSQL: read, insert, commit, and only then acknowledge."""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from acme_orders.chassis.database.failures import is_about_values
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.dead_letters.record import (
    DELIVERY_LIMIT,
    REASONS,
    DeadLetter,
    read,
    stripped,
)
from acme_orders.chassis.dead_letters.store import DeadLetters
from acme_orders.chassis.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    MessageError,
    ServiceError,
)
from acme_orders.chassis.messaging.broker import Broker, Delivery, Message
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import Supervisor, cancelled
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema

log = structlog.get_logger()

LARGEST_BODY = 16 * 1024 * 1024  # bytes; sixteen times what is processed by default
_PREFETCH = 20  # each may have the 128 MiB that RabbitMQ allows
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 2.0  # seconds until a dead letter is tried again
_LONGEST_HOLD = 1200.0  # seconds; the broker takes back what is not acked after 1800
_LONGEST_WAIT = 15.0  # seconds between two signs of life
_REPORT_EVERY = 15.0  # seconds


@dataclass(slots=True)
class _Kept:
    """A dead letter in hand; points of the monotonic clock."""

    letter: DeadLetter
    since: float
    tries: int = 0
    due: float = 0.0

    def failed(self) -> None:
        """Try it again after a pause, which grows."""
        pause = min(_FIRST_PAUSE * 2**self.tries, _LONGEST_PAUSE)
        self.tries = min(self.tries + 1, 10)
        self.due = time.monotonic() + random.uniform(pause / 2, pause)  # noqa: S311


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
        self._reasons = reasons()
        self._delivered: asyncio.Queue[Delivery] = asyncio.Queue()
        self._waits, self._paused = False, metrics.consumer_paused.labels("archive")

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
                keep = partial(self._supervisor.keep, "archiver")
                parts = (partial(self._work, stop), self._report)
                tasks = [group.create_task(keep(part)) for part in parts]
                await stop.wait()
                await subscription.cancel()
                await self._delivered.join()
                for task in tasks:
                    task.cancel()
        finally:
            await subscription.close()

    async def _work(self, stop: asyncio.Event) -> None:
        kept: dict[Delivery, _Kept] = {}
        try:
            while True:
                self._metrics.part_heartbeat.labels("archiver").set_to_current_time()
                await self._take(kept)
                stored = await self._store_some(kept)
                ended = [each for each in kept if self._gives_up(each, kept[each], stop)]
                await self._settle(each.ack for each in stored)
                await self._settle(each.release for each in ended if each not in stored)
                for delivery in {*stored, *ended}:
                    del kept[delivery]
                    self._delivered.task_done()
        except BaseException:
            if not cancelled():  # nobody foresaw this: others will have these messages
                await self._settle(each.release for each in kept)
            for _ in kept:
                self._delivered.task_done()
            raise

    async def _take(self, kept: dict[Delivery, _Kept]) -> None:
        """Wait for a delivery, or until it is time to try one again that is here; not for long."""
        due = min((each.due for each in kept.values()), default=math.inf)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(due - time.monotonic(), _LONGEST_WAIT)):
                self._keep(kept, await self._delivered.get())
        size = sum(len(each.letter.body) for each in kept.values() if not each.tries)
        while size < self._largest_body and not self._delivered.empty():
            size += self._keep(kept, self._delivered.get_nowait())

    def _keep(self, kept: dict[Delivery, _Kept], delivery: Delivery) -> int:
        # Read once: what has no id of its own gets one here, and keeps it in every attempt.
        letter = read(delivery.message, largest_body=self._largest_body)
        kept[delivery] = _Kept(letter, since=time.monotonic())
        return len(letter.body)

    async def _store_some(self, kept: Mapping[Delivery, _Kept]) -> list[Delivery]:
        """Store what can be stored now: new ones together, those that failed before alone."""
        now, stored = time.monotonic(), list[Delivery]()
        groups = [[each for each in kept if not kept[each].tries]]
        groups += [[each] for each in kept if kept[each].tries and kept[each].due <= now]
        for group in filter(None, groups):
            try:
                await self._store([kept[each].letter for each in group])
            except Exception as error:  # whatever it is, nothing was acknowledged
                outage = isinstance(error, DatabaseUnavailable)  # also for those that come after
                for failed in kept if outage else group:
                    kept[failed].failed()
                self._pause(len(group), error)
                if outage:
                    break
            else:
                stored += group
        if stored and len(stored) == len(kept):
            self._resume()
        return stored

    def _pause(self, letters: int, error: Exception) -> None:
        if not self._waits:
            why = str(error) or repr(error)
            log.warning("archiver.paused", messages=letters, why=why)
        self._waits = True
        self._paused.set(1)

    def _resume(self) -> None:
        if self._waits:
            log.info("archiver.resumed")
        self._waits = False
        self._paused.set(0)

    def _gives_up(self, delivery: Delivery, kept: _Kept, stop: asyncio.Event) -> bool:
        """Whether others shall try; the broker takes back what is kept for too long."""
        old = time.monotonic() - kept.since > _LONGEST_HOLD
        return bool(kept.tries) and (old or stop.is_set() or not delivery.open)

    async def _store(self, letters: Sequence[DeadLetter]) -> None:
        wanted = [each for each in letters if not await self._is_needless(each)]
        try:
            if wanted:
                await self._insert(wanted)
        except Exception as error:
            if len(letters) > 1 or not is_about_values(error):
                raise
            log.warning("archiver.stripped", id=str(letters[0].id), why=type(error).__name__)
            await self._insert([stripped(letters[0])])

    async def _is_needless(self, letter: DeadLetter) -> bool:
        """Whether RabbitMQ gave a message up that was processed: only its acks were lost."""
        if letter.reason != DELIVERY_LIMIT or not letter.whole:
            return False
        processed = await self._has_processed(letter.message())
        if processed:
            log.info("archiver.needless", message_id=letter.message_id)
        return processed

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
            count = oldest = math.nan  # in an outage, which is told of where it hurts
            with contextlib.suppress(ServiceError):
                async with self._manager.transaction("dead_letters.report", read_only=True):
                    backlog = await self._dead_letters.backlog()
                count, oldest = backlog.count, backlog.oldest_seconds
            self._metrics.dead_letters_waiting.set(count)
            self._metrics.dead_letters_oldest.set(oldest)
            await asyncio.sleep(_REPORT_EVERY)


def reasons() -> set[str]:
    """The reasons that this code knows; what else a message says is no label of a metric."""
    return REASONS | _reasons(MessageError)


def _reasons(error: type[MessageError]) -> set[str]:
    return {error.reason}.union(*map(_reasons, error.__subclasses__()))
