"""From the outbox to the broker: lease, publish, confirm, delete. Any number may run at once."""

import asyncio
import math
from collections import Counter
from collections.abc import Collection
from itertools import product
from uuid import UUID, uuid4

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.messaging.broker import Broker
from acme_orders.chassis.messaging.steady import Steady
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.relay.courier import PARKED, Courier, Fate, Outcome
from acme_orders.chassis.relay.prober import Prober
from acme_orders.chassis.relay.queries import RelayQueries
from acme_orders.chassis.relay.settings import RelaySettings
from acme_orders.chassis.relay.settlement import Settlement
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema

_REPORT_EVERY = 5.0  # seconds; counting the backlog is a query too
_LOOK_AGAIN = 1.0  # seconds between two looks whether the broker is back


class Relay:
    """Publishes outbox rows at least once, always under the same message id.

    No error ends it. A row that cannot be published is set aside, a type that the broker does not
    take is parked, and everything else is tried again.

    Args:
        manager: its transactions are short; none is open while a message is published.
        queries: what it asks of the database.
        committed: set when this process has committed an event.
        broker: where they go.
        exchange: that consumers of our events bind their queues to.
        source: the name that we publish under.
        needed: types of events that somebody has to listen to.
        settings: how many rows it takes at once, for how long, and how often it looks.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        manager: Manager,
        queries: RelayQueries,
        committed: asyncio.Event,
        broker: Broker,
        exchange: str,
        source: str,
        needed: Collection[str],
        settings: RelaySettings,
        metrics: Metrics,
    ) -> None:
        self._manager, self._queries = manager, queries
        self._committed, self._broker, self._metrics = committed, broker, metrics
        self._settings, self.needed = settings, frozenset(needed)
        self._courier = Courier(broker, exchange=exchange, source=source)
        self._settlement = Settlement(
            manager=manager,
            queries=queries,
            source=source,
            needed=self.needed,
            metrics=metrics,
        )
        self._prober = Prober(
            manager=manager,
            queries=queries,
            courier=self._courier,
            settlement=self._settlement,
            offered=committed,
            needed=self.needed,
            retention=settings.unheard_retention,
            metrics=metrics,
        )
        self._unsettled: tuple[UUID, list[Outcome]] | None = None
        self._steps: list[Steady] = []
        self._parked: set[str] = set()  # types, as metrics call them, that ever were

    @in_system_scope("relay")  # feature: row, rls, schema
    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set; a round that found something is followed at once by another.

        In an outage nothing is taken.
        """
        steps = {
            "publish": self._round,
            "probe": self._probe,
            "tidy": self._prober.tidy,
            "report": self._report,
        }
        try:
            async with asyncio.TaskGroup() as group:
                for name, step in steps.items():
                    wakers = [self._committed] if name == "publish" else []
                    steady = Steady(name, step, metrics=self._metrics)
                    self._steps.append(steady)
                    group.create_task(steady.run(stop, *wakers), name=f"relay {name}")
        finally:
            self._steps.clear()
            await self._prober.close()

    async def check(self) -> str:
        """What it waits for; empty if nothing. Messages are processed all the same."""
        return "; ".join(filter(None, (step.waits for step in self._steps)))

    @in_system_scope("relay")  # feature: row, rls, schema
    async def run_once(self) -> int:
        """Publish one batch; returns how many rows it took.

        Raises:
            BrokerUnavailable: an outage; the rows that it hit wait as if nobody had taken them.
        """
        await self._catch_up()
        lease = uuid4()
        self._unsettled = (lease, [])  # if the next step fails, nobody knows what it has taken
        async with self._manager.transaction("relay.lease"):
            types = await self._queries.parked.types()
            events, parked = await self._queries.pending.lease(
                lease,
                seconds=self._settings.relay_lease,
                limit=self._settings.relay_batch,
                parked=types,
            )
        outcomes = await self._courier.send(events)
        self._unsettled = (lease, outcomes) if outcomes else None
        if outcomes:
            await self._settle(again=False)
        for each in outcomes:
            if each.fate is Fate.UNTRIED and each.error is not None:
                raise each.error
        return len(events) + parked

    async def _catch_up(self) -> None:
        """Write down what became of the last batch, if that has failed; then comes another one."""
        if self._unsettled is not None:
            await self._settle(again=True)

    async def _settle(self, *, again: bool) -> None:
        assert self._unsettled is not None
        lease, outcomes = self._unsettled
        await self._settlement.forget(lease, outcomes, again=again)
        self._unsettled = (lease, [])  # what cannot be judged now is offered again
        await self._settlement.judge(lease, outcomes)
        self._unsettled = None

    async def _round(self) -> float:
        self._metrics.part_heartbeat.labels("relay").set_to_current_time()
        self._committed.clear()
        if not self._broker.publishing:
            await self._catch_up()
            return min(self._settings.relay_poll, _LOOK_AGAIN)
        return 0.0 if await self.run_once() else self._settings.relay_poll

    async def _probe(self) -> float:
        return await self._prober.probe() if self._broker.publishing else _LOOK_AGAIN

    async def _report(self) -> float:
        metrics = self._metrics
        try:
            async with self._manager.transaction("relay.report", read_only=True):
                parked = await self._queries.backlog.parked()
                known = sum(each.rows for each in parked)
                pending = await self._queries.backlog.pending(parked=known)
        except ServiceError:
            metrics.outbox_pending.set(math.nan)
            metrics.outbox_oldest.set(math.nan)
            raise
        metrics.outbox_pending.set(pending.rows)
        metrics.outbox_oldest.set(pending.oldest_seconds)
        rows: Counter[str] = Counter()
        types: Counter[tuple[str, str]] = Counter()
        for each in parked:
            rows[self._settlement.label(each.type)] += each.rows
            types[each.reason, "yes" if each.type in self.needed else "no"] += 1
        metrics.outbox_parked_oldest.set(max((each.oldest_seconds for each in parked), default=0))
        self._parked |= rows.keys()
        for type_ in self._parked:
            metrics.outbox_parked.labels(type_).set(rows[type_])
        for key in product((each.value for each in PARKED), ("yes", "no")):
            metrics.outbox_parked_types.labels(*key).set(types[key])
        return _REPORT_EVERY
