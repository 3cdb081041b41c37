"""Writes down what became of events that were sent, and tells of what did not go well.

One cause is told once, however many events it concerns: a type that nobody listens to when it is
parked and when that is over, everything else every few seconds at most.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from uuid import UUID

import structlog

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.relay.courier import PARKED, Fate, Outcome
from acme_orders.chassis.relay.parked_types import UNHEARD
from acme_orders.chassis.relay.queries import RelayQueries
from acme_orders.chassis.relay.set_aside import Verdict

log = structlog.get_logger()

_TOLD_EVERY = 10.0  # seconds between two records about the same thing
_MOST_LABELS = 100  # types of events in metrics; each costs memory for ever


class Settlement:
    """Settles what one lease holds.

    Args:
        manager: of the transactions.
        queries: what it asks of the database.
        source: the name that we publish under.
        needed: types of events that need a listener.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        manager: Manager,
        queries: RelayQueries,
        source: str,
        needed: frozenset[str],
        metrics: Metrics,
    ) -> None:
        self._manager, self._queries = manager, queries
        self._source, self._needed = source, needed
        self._metrics, self._labels = metrics, {*needed}
        self._told: dict[tuple[str, ...], float] = {}

    async def forget(self, lease: UUID, outcomes: Sequence[Outcome], *, again: bool) -> None:
        """Forget the confirmed events, and offer those again that nobody tried.

        Args:
            lease: of the rows.
            outcomes: of the events.
            again: whether this was tried before; then nobody knows how often it happened.
        """
        confirmed = [each.event for each in outcomes if each.fate is Fate.CONFIRMED]
        async with self._manager.transaction("relay.settle", items=len(outcomes)):
            found = len(confirmed)
            if confirmed:
                found = await self._queries.pending.published(
                    lease, [each.id for each in confirmed]
                )
            if any(each.fate is Fate.UNTRIED for each in outcomes) or not outcomes:
                await self._queries.pending.give_back(lease)
        self._count_failures(
            {each.event.type: each for each in outcomes if each.fate is Fate.UNTRIED}.values()
        )
        for type_, count in Counter(each.type for each in confirmed).items():
            self._metrics.outbox_published.labels(self.label(type_)).inc(count)
        if (lost := len(confirmed) - found) and not again:
            self._metrics.outbox_leases_lost.inc(lost)
            self.tell("relay.lease_lost", level="warning", rows=lost)

    async def judge(self, lease: UUID, outcomes: Sequence[Outcome]) -> None:
        """Park types, count attempts, and set events aside, as far as there is reason to."""
        await self._park(lease, [each for each in outcomes if each.fate in PARKED])
        for each in outcomes:
            if each.fate is Fate.DANGEROUS:
                await self._postpone(lease, each)
        await self._give_up(lease, [each for each in outcomes if each.fate is Fate.UNPUBLISHABLE])

    async def _park(self, lease: UUID, refused: Sequence[Outcome]) -> None:
        if not refused:
            return
        why = {each.event.type: (each.fate.value, str(each.error)[:500]) for each in refused}
        async with self._manager.transaction("relay.park", items=len(refused)):
            new = await self._queries.parked.park(lease, why, [each.event.id for each in refused])
        self._count_failures({each.event.type: each for each in refused}.values())
        for type_ in sorted(new):
            reason, error = why[type_]
            calm = reason == UNHEARD and type_ not in self._needed
            self.tell(
                "relay.type_parked",
                type_,
                level="info" if calm else "warning",
                reason=reason,
                why=error,
                then="its events wait, and go out by themselves",
            )

    async def _postpone(self, lease: UUID, outcome: Outcome) -> None:
        event, error = outcome.event, repr(outcome.error)
        seconds = random.uniform(0.5, 1) * 2.0**event.attempts  # noqa: S311
        async with self._manager.transaction("relay.postpone"):
            await self._queries.pending.failed(lease, event.id, error=error, seconds=seconds)
        self._count_failures([outcome])
        self.tell(
            "relay.event_dangerous",
            event.type,
            level="warning",
            message_id=event.message_id,
            attempt=event.attempts + 1,
            why=str(outcome.error),
        )

    async def _give_up(self, lease: UUID, condemned: Sequence[Outcome]) -> None:
        if not condemned:
            return
        verdicts = [
            Verdict(
                each.event.id, type(each.error).__name__, str(each.error), each.event.attempts + 1
            )
            for each in condemned
        ]
        async with self._manager.transaction("relay.set_aside", items=len(condemned)):
            await self._queries.set_aside.set_aside(lease, self._source, verdicts)
        self._count_failures(condemned)
        alike: defaultdict[str, list[Outcome]] = defaultdict(list)
        for each in condemned:
            alike[each.event.type].append(each)
        for type_, those in alike.items():
            self._metrics.outbox_set_aside.labels(self.label(type_)).inc(len(those))
            self.tell(
                "relay.events_set_aside",
                type_,
                level="error",
                events=len(those),
                message_id=those[0].event.message_id,
                why=str(those[0].error),
            )

    def label(self, type_: str) -> str:
        """The type as metrics have it; there may be many, from SQL by hand."""
        if type_ not in self._labels and len(self._labels) < _MOST_LABELS:
            self._labels.add(type_)
        return type_ if type_ in self._labels else "other"

    def tell(self, event: str, type_: str = "", *, level: str = "info", **said: object) -> None:
        """Write a record about a type, unless there was such a one a moment ago."""
        now = time.monotonic()
        self._told = {key: at for key, at in self._told.items() if now - at < _TOLD_EVERY}
        if self._told.setdefault((event, type_), now) == now:
            about = {"type": type_} if type_ else {}
            getattr(log, level)(event, **about, **said)

    def _count_failures(self, outcomes: Iterable[Outcome]) -> None:
        for each in outcomes:
            label = self.label(each.event.type)
            self._metrics.outbox_publish_failures.labels(label, each.fate.value).inc()
