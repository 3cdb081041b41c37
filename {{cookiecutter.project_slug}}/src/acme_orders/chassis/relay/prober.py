"""Tries parked types of events, one event of each, and lets all go when the broker takes it."""

import asyncio
from collections import Counter
from functools import partial
from uuid import UUID, uuid4

import structlog

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.relay.courier import Courier, Fate
from acme_orders.chassis.relay.outgoing import Outgoing
from acme_orders.chassis.relay.queries import RelayQueries
from acme_orders.chassis.relay.settlement import Settlement
from acme_orders.chassis.supervision import apart

log = structlog.get_logger()

_SOON = 0.05  # seconds; time for what was offered again to be published
_PATIENCE = 0.5  # seconds that a round waits for its probes; a queue may never answer
_AT_ONCE = 50  # types
_IDLE = 1.0  # seconds; another relay may have parked a type, and ended
_TIDY_EVERY = 60.0  # seconds


class Prober:
    """Probes parked types, one event of a type at a time, whatever number of relays there is.

    Args:
        manager: of the transactions.
        queries: what it asks of the database.
        courier: publishes.
        settlement: writes down what became of it.
        offered: set when events can be taken again.
        needed: types of events that are kept until somebody listens.
        retention: seconds after which other events that nobody listens to are dropped.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        manager: Manager,
        queries: RelayQueries,
        courier: Courier,
        settlement: Settlement,
        offered: asyncio.Event,
        needed: frozenset[str],
        retention: float,
        metrics: Metrics,
    ) -> None:
        self._manager, self._queries = manager, queries
        self._courier, self._settlement, self._offered = courier, settlement, offered
        self._needed, self._retention, self._metrics = needed, retention, metrics
        self._under_way: dict[str, asyncio.Task[bool]] = {}

    async def probe(self) -> float:
        """Try what is due; returns the seconds until something may be due again."""
        lease = uuid4()
        async with self._manager.transaction("relay.probe"):
            found, empty, due_in = await self._queries.parked.probe(
                lease, limit=_AT_ONCE, but=list(self._under_way)
            )
        for event in found:
            trying = apart(partial(self._try, lease, event))
            self._under_way[event.type] = asyncio.create_task(trying)
        for type_ in empty:
            async with self._manager.transaction("relay.forget"):
                await self._queries.parked.forget(type_)
        more = []
        if self._under_way:
            done, _ = await asyncio.wait(self._under_way.values(), timeout=_PATIENCE)
            self._under_way = {
                type_: task for type_, task in self._under_way.items() if task not in done
            }
            failures = [error for task in done if (error := task.exception())]
            if failures:
                raise failures[0]
            more = [task.result() for task in done]
        if any(more):
            return _SOON
        return _IDLE if due_in is None else max(_SOON, due_in)

    async def tidy(self) -> float:
        """Drop what nobody has listened to for too long, and try what nobody else tries."""
        async with self._manager.transaction("relay.adopt"):
            for type_ in await self._queries.leftovers.adopt():
                log.warning("relay.type_adopted", type=type_)
        dropped: Counter[str] = Counter()
        while some := await self._expire():
            dropped += some
        for type_, events in sorted(dropped.items()):
            log.warning(
                "relay.events_dropped",
                type=type_,
                events=events,
                why=f"no queue was bound for {self._retention:g} s (UNHEARD_RETENTION)",
            )
        return _TIDY_EVERY

    async def close(self) -> None:
        """End probes that get no answer."""
        for task in self._under_way.values():
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way.values())

    async def _try(self, lease: UUID, event: Outgoing) -> bool:
        """Publish one event of a type; whether there is more to be done at once."""
        outcomes = await self._courier.send([event])
        if outcomes[0].fate is not Fate.CONFIRMED:
            await self._settlement.judge(lease, outcomes)
            return outcomes[0].fate is Fate.UNPUBLISHABLE  # the next one may be better
        await self._settlement.forget(lease, outcomes, again=False)
        return await self._release(event.type)

    async def _release(self, type_: str) -> bool:
        """Offer the events of a type again; whether there are more of them."""
        async with self._manager.transaction("relay.release"):
            release = await self._queries.parked.release(type_)
        if release is None:
            return False
        if release.rows:
            self._offered.set()
        if release.ended:
            seconds = round(release.seconds, 1)
            self._settlement.tell("relay.type_resumed", type_, was=release.reason, seconds=seconds)
        return not release.ended

    async def _expire(self) -> Counter[str]:
        async with self._manager.transaction("relay.expire"):
            leftovers = self._queries.leftovers
            dropped = await leftovers.expire(seconds=self._retention, but=sorted(self._needed))
        for type_, events in dropped.items():
            label = self._settlement.label(type_)
            self._metrics.outbox_dropped.labels(label).inc(events)
        return dropped
