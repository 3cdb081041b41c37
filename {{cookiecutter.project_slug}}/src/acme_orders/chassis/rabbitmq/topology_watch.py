"""Looks at exchange, queues and bindings again and again: somebody else may change them."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Iterable

import structlog

from acme_orders.chassis.errors import BrokerUnavailable, TopologyDiffers
from acme_orders.chassis.messaging.broker import Broker
from acme_orders.chassis.messaging.topology import (
    GRACE,
    MISSING,
    Problem,
    State,
    Topology,
)
from acme_orders.chassis.observability.metrics import Metrics

_RESTORE_EVERY = 600.0  # seconds; whoever deletes the same thing again means it
_SILENT = 3  # looks in a row; between two of them a consumer may have begun or ended

log = structlog.get_logger()
Found = dict[tuple[str, Problem], State]


class TopologyWatch:
    """Restores what only has to be declared again, and says once what else differs.

    It deletes and replaces nothing: what differs may be the work of an operator, or of a newer
    version of this service.

    Args:
        broker: where it looks.
        topology: as this version declares it.
        every: seconds between two looks.
        metrics: where problems are shown.
    """

    def __init__(
        self, broker: Broker, topology: Topology, *, every: float, metrics: Metrics
    ) -> None:
        self._broker, self._topology, self._every = broker, topology, every
        self._metrics, self._problems = metrics, Found()
        self._unconsumed: list[str] = []
        self._silent, self._looks = set[str](), Counter[str]()
        self._restored: dict[tuple[str, Problem], float] = {}

    async def run(self) -> None:
        """Look until cancelled; in an outage of RabbitMQ there is nothing to be seen."""
        seen = True
        while True:
            self._metrics.part_heartbeat.labels("topology").set_to_current_time()
            try:
                await self.look()
            except BrokerUnavailable as error:
                if seen:
                    log.warning("topology.unseen", why=str(error))
                seen = False
                for gauge in (self._metrics.queue_messages, self._metrics.queue_consumers):
                    for queue in self._topology:
                        gauge.labels(queue.name).set(math.nan)
            else:
                seen = True
            # By chance a bit more or less: all processes need not look in the same moment.
            await asyncio.sleep(random.uniform(0.8, 1.2) * self._every)  # noqa: S311

    async def look(self) -> None:
        """Look once, restore what can be, and say what differs.

        Raises:
            BrokerUnavailable: RabbitMQ does not answer.
        """
        found = await self._inspect()
        if any(problem.restorable for _, problem in found):
            found = await self._restore(found)
        self._looks = Counter({name: self._looks[name] + 1 for name in self._silent})
        bindable = (self._topology.exchange, MISSING) not in found
        if self._broker.unseen and bindable:  # it changes nothing where they are bound
            there = (each for each in self._topology if (each.name, MISSING) not in found)
            await self._broker.bind(each for each in there if each.bindings)
        self._tell(found)

    async def check(self) -> str | None:
        """What differs and loses nothing, and who is not there, as the last look saw it.

        Raises:
            TopologyDiffers: messages can be lost, or do not arrive.
        """
        told: dict[bool, list[str]] = {True: [], False: []}
        for (_, problem), state in self._problems.items():
            told[problem.loses].append(f"{state.part}: {problem.what}")
        for name in (name for name, looks in self._looks.items() if looks >= _SILENT):
            told[True].append(
                f"queue {name}: this process consumes from it, and RabbitMQ counts no consumer; "
                "if its disk was full the queue has ended: restart the node"
            )
        if told[True]:
            raise TopologyDiffers("; ".join(told[True]))
        return "; ".join([*told[False], *self._unconsumed]) or None

    async def _inspect(self) -> Found:
        states = await self._broker.inspect(self._topology.exchange, self._topology)
        self._show(states)
        return {(state.name, problem): state for state in states for problem in state.problems}

    def _show(self, states: Iterable[State]) -> None:
        """Whoever runs asks: nobody who consumes or publishes would tell that he is not there."""
        self._unconsumed, self._silent = [], set()
        for each in states:
            if each.queue is not None:
                self._metrics.queue_messages.labels(each.name).set(each.messages)
                self._metrics.queue_consumers.labels(each.name).set(each.consumers)
            if not each.consumers and each.name in self._broker.consuming:
                self._silent.add(each.name)
            if each.unconsumed:
                self._unconsumed.append(f"{each.messages} messages in {each.name}, no consumer")

    async def _restore(self, found: Found) -> Found:
        now = time.monotonic()
        lacking = {
            each
            for each in found
            if each[1].restorable
            and now - self._restored.get(each, -_RESTORE_EVERY) >= _RESTORE_EVERY
        }
        if not lacking:
            return found
        if any(problem == MISSING for _, problem in lacking):
            await self._broker.restore()
        else:
            await asyncio.sleep(GRACE)
        found = await self._inspect()
        unbound = {
            each: state for each, state in found.items() if each in lacking and each[1] != MISSING
        }
        await self._broker.bind(state.queue for state in unbound.values() if state.queue)
        for (name, problem), state in unbound.items():
            log.warning("topology.restored", part=state.part, what=problem.what)
            self._metrics.topology_restored.labels(name).inc()
        self._restored |= dict.fromkeys(lacking, now)
        return await self._inspect()

    def _tell(self, found: Found) -> None:
        for (name, problem), state in found.items():
            if (name, problem) not in self._problems:
                log.error(
                    "topology.differs",
                    part=state.part,
                    what=problem.what,
                    helps=problem.helps,
                    loses=problem.loses,
                )
        for (name, problem), state in self._problems.items():
            if (name, problem) not in found:
                log.info("topology.as_declared", part=state.part, what=problem.what)
        self._problems = found
        for loses, kind in ((True, "loses"), (False, "differs")):
            number = sum(problem.loses is loses for _, problem in found)
            self._metrics.topology_problems.labels(kind).set(number)
