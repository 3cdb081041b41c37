"""K4: what operators can see."""

import asyncio
import http.client
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from prometheus_client.parser import text_string_to_metric_families

from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.http.server import listen, serve
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.probes import operations

from readiness.check import Check
from readiness.nameless import nameless, unannounced, unpublished
from readiness.observed import observed
from readiness.rehearsal import Rehearsal
from readiness.sources import sources

Scrape = Callable[[], Awaitable["Page"]]
_DURATION = "db_client_operation_duration_seconds_count"
_ERRORS = "db_client_errors_total"
_FORCED = "readiness.forced_error"
_LOOKED_AT = ("db_client_", "messages_processed")
_USED = {"state": "used"}
_GAUGES = (
    "db_client_connections",
    "db_client_connections_max",
    "db_client_connections_pending_requests",
)


class Page:
    """What one look at `/metrics` showed."""

    def __init__(self, text: str) -> None:
        # To read all of it takes longer than everything else that this check does.
        wanted = (
            line
            for line in text.splitlines(keepends=True)
            if "_bucket{" not in line and any(name in line for name in _LOOKED_AT)
        )
        families = list(text_string_to_metric_families("".join(wanted)))
        self._kinds = {family.name: family.type for family in families}
        self._samples = [sample for family in families for sample in family.samples]

    def has(self, family: str, kind: str) -> bool:
        """Whether a family of this kind is there; it may have no samples yet."""
        return self._kinds.get(family) == kind

    def value(self, name: str, labels: Mapping[str, str]) -> float:
        """The sum of the samples with these labels among theirs; 0 if there are none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class DatabaseIsObservable(Check):
    """Query latency and error rates are observable."""

    id = "K4"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Send every statement through the manager, under the name of its query.

        Keep the families of chassis/observability/metrics.py under the names that they have:
        dashboards and alerts use them.
        """
        async with _scraping(rehearsal.service.metrics) as scrape:
            before, names = await scrape(), rehearsal.service.queries().keys()
            for repository, query, method in rehearsal.queries():
                self.inspected += 1
                call = await rehearsal.call(repository, query, method)
                labels = {"query": query.name, "outcome": "error" if call.error else "ok"}
                after = await scrape()
                sent = {each.query for each in call.statements}
                # Those that only call others are seen under the names of these.
                others = query.name not in sent and sent and sent <= names
                if after.value(_DURATION, labels) <= before.value(_DURATION, labels) and not others:
                    why = f"; its example ends with {call.error!r}" if call.error else ""
                    yield f"{query.name} does not move {_DURATION}{why}"
                before = after
            for finding in await _forced_error(rehearsal, scrape):
                yield finding
            for finding in await _families(rehearsal, scrape):
                yield finding
        used = await observed(rehearsal)
        for finding in nameless(rehearsal, {**used.named, **rehearsal.watch.named}):
            yield finding
        slices = rehearsal.service.slices
        for finding in unannounced(slices, used.published):
            yield finding
        modules = [each for each in sources(rehearsal.subject.source) if each.parts[0] != "chassis"]
        for finding in unpublished(slices, used.published, modules):
            yield finding


async def _forced_error(rehearsal: Rehearsal, scrape: Scrape) -> list[str]:
    before, manager = await scrape(), rehearsal.service.manager
    with suppress(DatabaseError):
        async with manager.transaction("readiness.forced_error", read_only=True):
            with manager.named(_FORCED):
                await manager.fetch_sql("SELECT 1/0")
    after, found = await scrape(), []
    for name, labels in (
        (_ERRORS, {"query": _FORCED}),
        (_DURATION, {"query": _FORCED, "outcome": "error"}),
    ):
        if after.value(name, labels) != before.value(name, labels) + 1:
            found.append(f"a failing statement does not move {name}")
    return found


async def _families(rehearsal: Rehearsal, scrape: Scrape) -> list[str]:
    idle = await scrape()
    async with rehearsal.service.manager.connection():
        busy = await scrape()
    found = [f"/metrics has no gauge {name}" for name in _GAUGES if not idle.has(name, "gauge")]
    if not found and busy.value(_GAUGES[0], _USED) != idle.value(_GAUGES[0], _USED) + 1:
        found.append(f"a connection in use does not move {_GAUGES[0]}")
    if not idle.has("messages_processed", "counter"):
        found.append("/metrics has no counter messages_processed_total")
    return found


@asynccontextmanager
async def _scraping(metrics: Metrics) -> AsyncIterator[Scrape]:
    """The operations port, served for real on a free port of this machine."""
    stop, socket = asyncio.Event(), listen("127.0.0.1", 0, "OPERATIONS_PORT")
    port = socket.getsockname()[1]

    async def scrape() -> Page:
        return Page(await asyncio.to_thread(_get, port))

    serving = asyncio.create_task(serve(operations(metrics, {}), socket, stop))
    try:
        yield scrape
    finally:
        stop.set()
        await serving
        socket.close()


def _get(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()
