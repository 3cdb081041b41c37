"""What the page shows of the service: asked for when somebody looks, each part by itself."""

import asyncio
import math
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from prometheus_client import Gauge

from acme_orders.chassis.background import begun
from acme_orders.chassis.dead_letters.choice import MOST_LINES, listed
from acme_orders.chassis.dead_letters.store import DeadLetters, Group, Selection
from acme_orders.chassis.erasure.eraser import Eraser
from acme_orders.chassis.erasure.requests import Request
from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.probes import Probe
from acme_orders.chassis.operations.markup import Html, moment, table, tag
from acme_orders.chassis.operations.queries import Queries
from acme_orders.chassis.relay.backlog import OutboxBacklog
from acme_orders.chassis.supervision import apart

_PATIENCE = 5.0  # seconds for all parts; what was read by then is shown
_GROUPS = 50
_REQUESTS = 50
_QUIET = 60.0  # seconds since a sign of life
Part = Callable[[], Coroutine[Any, Any, Html | None]]


class State:
    """Reads what is shown; what cannot be read is said instead.

    Args:
        metrics: of this process.
        probes: as for `/ready`.
        dead_letters: where they are.
        outbox: counts what waits.
        migrator: of the database.
        eraser: knows who has to be erased.
        queries: of this process.
        version: of the service.
    """

    def __init__(
        self,
        metrics: Metrics,
        probes: Mapping[str, Probe],
        *,
        dead_letters: DeadLetters,
        outbox: OutboxBacklog,
        migrator: Migrator,
        eraser: Eraser,
        queries: Queries,
        version: str,
    ) -> None:
        self._metrics, self._probes = metrics, probes
        self._whose = f"version {version} on {socket.gethostname()}, process {os.getpid()}"
        self._eraser, self._queries = eraser, queries
        self._dead_letters, self._outbox, self._migrator = dead_letters, outbox, migrator

    async def sections(self) -> list[Html]:
        """All of it; a part that has nothing to look at is left out."""
        until = asyncio.get_running_loop().time() + _PATIENCE
        # One after the other in each: whoever looks takes one connection of the pool, and one more.
        by_the_pool: dict[str, Part] = {
            "Readiness of this process": self._readiness,
            "Outbox": self._events,
            "Dead letters": self._letters,
        }
        of_this_process: dict[str, Part] = {
            "Queues": self._queues,
            "Retention": self._retention,
            "Queries of this process that take longest": self._queries.slowest,
        }
        in_other_sessions: dict[str, Part] = {
            "Requests to be erased": self._erasure,
            "Schema": self._schema,
            "Statements of the service that keep PostgreSQL busy": self._queries.busiest,
        }
        async with asyncio.TaskGroup() as group:
            reading = [
                group.create_task(_read(parts, until))
                for parts in (by_the_pool, of_this_process, in_other_sessions)
            ]
        shown = [each for task in reading for each in task.result()]
        return [tag("section", tag("h2", name), each) for name, each in shown if each is not None]

    async def _letters(self) -> Html:
        found, said, count = await listed(
            self._dead_letters, Selection(), each=False, limit=_GROUPS
        )
        heads = ("waiting", "reason", "type", "error", "from", "to", "fingerprint")
        shown = [table(heads, [_group(each) for each in found])]
        if count:
            shown.insert(0, tag("p", said))
        if (more := count - len(found)) > 0:
            command = tag("code", f"dead-letters list --limit {min(count, MOST_LINES)}")
            shown.append(tag("p", f"and {more} more groups: ", command))
        return tag("div", *shown)

    async def _readiness(self) -> Html:
        said = [(name, await _said(probe)) for name, probe in self._probes.items()]
        beats = _values(self._metrics.part_heartbeat, "part")
        parts = [(part, _ago(time.time() - beat)) for part, beat in beats]
        tables = table(("has to work", "says"), said), table(("part", "last seen"), parts)
        return tag("div", tag("p", self._whose), *tables)

    async def _queues(self) -> Html:
        consumers = dict(_values(self._metrics.queue_consumers, "queue"))
        rows = [
            (queue, _number(number), _number(consumers.get(queue, math.nan)))
            for queue, number in _values(self._metrics.queue_messages, "queue")
        ]
        return table(("queue", "messages", "consumers"), rows)

    async def _events(self) -> Html:
        async with self._outbox.manager.transaction("operations.look", read_only=True):
            pending, parked = await self._outbox.pending(), await self._outbox.parked()
        rows = [("to be published", "", pending.rows, _seconds(pending.oldest_seconds))]
        rows += [
            (each.type, each.reason, each.rows, _seconds(each.oldest_seconds)) for each in parked
        ]
        return table(("events", "parked", "number", "oldest"), rows)

    async def _retention(self) -> Html:
        overdue = _values(self._metrics.retention_overdue, "policy")
        rows = [
            (policy, f"overdue: {_seconds(late)}" if late else "ok") for policy, late in overdue
        ]
        return table(("policy", "state"), rows)

    async def _erasure(self) -> Html:
        found: list[Request] = []

        def read() -> None:
            with self._eraser.requests() as requests:
                found.extend(requests.open(most=_REQUESTS))

        await begun(read)
        heads = ("request", "state", "since", "due", "why")
        return table(heads, [_request(each) for each in found])

    async def _schema(self) -> Html:
        rows: list[tuple[object, ...]] = []

        def read() -> None:
            rows.extend((each.id, "pending") for each in self._migrator.pending())
            newest = sorted(self._migrator.applied(), key=lambda each: each.at)[-3:]
            rows.extend(
                (each.id, f"{each.status}, {each.at:%Y-%m-%d %H:%M}") for each in newest[::-1]
            )

        await begun(read)
        return table(("migration", "state"), rows)


async def _read(parts: Mapping[str, Part], until: float) -> list[tuple[str, Html | None]]:
    """Each of them, as far as time goes: where one hangs the next one would as well."""
    found, loop = list[tuple[str, Html | None]](), asyncio.get_running_loop()
    for name, part in parts.items():
        why = f"no answer within {_PATIENCE:g} s" if loop.time() < until else "no time was left"
        try:
            async with asyncio.timeout_at(until):
                found.append((name, await apart(part)))
        except TimeoutError:
            found.append((name, tag("p", why, class_="bad")))
        except ServiceError as error:
            found.append((name, tag("p", f"cannot be read: {error}", class_="bad")))
    return found


async def _said(probe: Probe) -> Html:
    try:
        said = await apart(probe)
    except ServiceError as error:
        return tag("span", str(error) or type(error).__name__, class_="bad")
    return tag("span", said or "ok")


def _group(group: Group) -> Sequence[object]:
    wanted = {"reason": group.reason, "type": group.type, "fingerprint": group.fingerprint}
    given = urlencode({name: value for name, value in wanted.items() if value is not None})
    link = tag("a", group.count, href=f"/dead-letters?{given}")
    times = (moment(each) for each in (group.first, group.last))
    return (link, group.reason, group.type, group.error_type, *times, group.fingerprint)


def _request(request: Request) -> Sequence[object]:
    late = request.state != "held" and request.due_at < datetime.now(UTC)
    due = tag("span", moment(request.due_at), class_="bad" if late else "ok")
    return (request.id, request.state, moment(request.requested_at), due, request.error)


def _values(gauge: Gauge, label: str) -> list[tuple[str, float]]:
    (family,) = gauge.collect()
    return [(each.labels[label], each.value) for each in family.samples]


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.0f} s"


def _ago(seconds: float) -> Html:
    return tag("span", f"{seconds:.0f} s ago", class_="bad" if seconds > _QUIET else "ok")
