"""Every error in every loop: while it lasts nothing ends, and soon after it all goes on.

A cell is a loop, a place in it, and a cause that lasts until it was met. Those of a loop come one
after the other, the loops work at the same time, in one run of the service. What becomes of a
message that meets an error each time: `test_what_a_message_always_meets`.
"""

import asyncio
import json  # feature: http_api
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection  # feature: http_api
from typing import Any

import pytest
from aiormq import Channel
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.lease import Lease
from acme_orders.chassis.http import server as http
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE, Queue
from acme_orders.chassis.observability.probes import operations
from acme_orders.chassis.process.run import probes
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.rabbitmq.answers import goodbye

from tests.chassis.conftest import Connect, eventually, rows, send, sold
from tests.chassis.integration.blame import bad, fates, meeting
from tests.chassis.integration.outbox_events import HEARD, Heard, add, listen
from tests.chassis.integration.test_api import FORM, HEADERS  # feature: http_api
from tests.chassis.integration.test_operations import get
from tests.chassis.integration.test_protection import everything
from tests.chassis.integration.test_relay_errors import FAIL, PUBLISHING

# Each class of PostgreSQL's appendix A that is an error, and what this service treats by itself.
STATES = re.findall(
    r"\w{5}",
    "02000 03000 08000 08003 08006 08P01 09000 0A000 0B000 0F001 0L000 0P000 0Z002 10608 20000 "
    "21000 22P02 22012 2200H 23502 23503 23505 23514 23P01 24000 25001 25006 25P02 25P03 25P04 "
    "26000 27000 28000 28P01 2B000 2D000 2F003 34000 38000 39001 3B001 3D000 3F000 40001 40003 "
    "40P01 42501 42601 42703 42P01 44000 53000 53100 53200 53300 53400 54000 55000 55006 55P03 "
    "57000 57014 57P01 57P02 57P03 57P04 57P05 58000 58030 72000 F0000 HV000 P0001 XX000 XX001 "
    "UU000",
)
LOST = "the connection is lost"
DRIVER: list[Any] = [
    LOST,
    ValueError("no such encoding"),
    OSError(24, "Too many open files"),
    TimeoutError(),
    asyncio.CancelledError("nobody asked for it"),
    SystemExit(1),
    LookupError("a bug"),
    MemoryError(),
]
CAUSES = [*STATES, *DRIVER]
# Where no place differs from another but in how an error is translated.
SOME = ["08006", "23505", "25006", "25P03", "40001", "42501", "53300", "57014", "57P01", *DRIVER]
SOON = 20.0  # seconds; five on a machine that has nothing else to do
# Shorter than in production, so that thousands of cells take a minute.
WAITS = {
    "dead_letters.archiver._FIRST_PAUSE": 0.01,
    "messaging.circuit_breaker._FIRST_PAUSE": 0.01,
    "messaging.intake._LOOK": 0.01,
    "messaging.intake._UNFORESEEN": 0.01,
    "messaging.steady._FIRST_PAUSE": 0.005,
    "messaging.triage._FIRST_PAUSE": 0.01,
    "supervision._FIRST_PAUSE": 0.01,
    "supervision._STEADY": 0.0,  # parts that end again and again do not wait longer each time
}
LOOP: ContextVar[str] = ContextVar("loop", default="the test")


@dataclass
class Trouble:
    """What goes wrong now, by loop: a place and a cause; and how often it did."""

    now: dict[str, tuple[str, Any]] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)

    def here(self, *places: str) -> Any:
        """The cause that this loop meets in one of these places; None if there is none."""
        loop = LOOP.get()
        place, cause = self.now.get(loop, ("", None))
        if place not in places:
            return None
        self.met[loop] += 1
        return cause


class Refusing:
    """A connection whose cursors fail in Python."""

    closed = False

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def cursor(self) -> Any:
        """Fail."""
        raise self._error.with_traceback(None)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    """Goes wrong in PostgreSQL itself, in its driver, or in aiormq."""
    trouble, real = Trouble(), Lease.send

    async def failing(self: Lease, sql: str, *args: Any) -> Any:
        first = sql.split(maxsplit=1)[0].strip(";")
        place = first if first in {"BEGIN", "COMMIT", "ROLLBACK"} else "statement"
        match trouble.here(place):
            case None:
                return await real(self, sql, *args)
            case "the connection is lost":
                driver.discard(self.connection)
                return await real(self, sql, *args)
            case str(state):
                return await real(self, f"SELECT fail('{state}')")
            case error:
                connection, self.connection = self.connection, Refusing(error)
                try:
                    return await real(self, sql, *args)
                finally:
                    self.connection = connection

    monkeypatch.setattr(Lease, "send", failing)
    for name, place in (("basic_publish", "publish"), ("basic_ack", "ack")):
        monkeypatch.setattr(Channel, name, _refusing(getattr(Channel, name), trouble, place))
    for name, seconds in WAITS.items():
        monkeypatch.setattr(f"acme_orders.chassis.{name}", seconds)
    return trouble


def _refusing(real: Callable[..., Any], trouble: Trouble, place: str) -> Callable[..., Any]:
    async def call(self: Channel, *args: Any, **kwargs: Any) -> Any:
        if error := trouble.here(place):
            if place == "ack":  # or the message would be nobody's, as long as the channel lives
                await goodbye(1, self.close())
            raise error.with_traceback(None)
        return await real(self, *args, **kwargs)

    return call


@dataclass
class Loop:
    """What can go wrong in one.

    Args:
        name: of the loop.
        provoke: has it do something that meets the cause.
        ended: how much it has done so far, or 0 if it is not well.
        causes: what goes wrong in it, by place.
    """

    name: str
    provoke: Callable[[], Awaitable[object]]
    ended: Callable[[], Any]
    causes: Mapping[str, Sequence[Any]] = field(
        default_factory=lambda: {"statement": CAUSES, "BEGIN": SOME, "COMMIT": SOME}
    )

    async def cells(self, trouble: Trouble) -> list[str]:
        """Those that failed; after the third there is no other."""
        failed = list[str]()
        pairs = [(place, cause) for place, causes in self.causes.items() for cause in causes]
        for place, cause in pairs:
            if len(failed) < 3:
                try:
                    await self._cell(trouble, place, cause)
                except Exception as error:
                    failed.append(f"{self.name}, {place}, {cause!r}: {error!r}")
        return failed

    async def _cell(self, trouble: Trouble, place: str, cause: Any) -> None:
        met, ended = trouble.met[self.name], await self.ended()
        trouble.now[self.name] = (place, cause)
        try:
            await self.provoke()
            await eventually(lambda: trouble.met[self.name] > met, within=SOON)
        finally:
            del trouble.now[self.name]

        async def goes_on() -> bool:
            return bool(await self.ended() > ended)

        await eventually(goes_on, within=SOON)


def within(loop: str, owner: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this method does belongs to a loop."""
    real = getattr(owner, method)

    async def named(*args: Any, **kwargs: Any) -> Any:
        token = LOOP.set(loop)
        try:
            return await real(*args, **kwargs)
        finally:
            LOOP.reset(token)

    monkeypatch.setattr(owner, method, named)


@asynccontextmanager
async def port(loop: str, app: ASGIApp) -> AsyncIterator[int]:
    """Where an application answers, whose requests belong to a loop."""

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        LOOP.set(loop)
        await app(scope, receive, send)

    listening, stop = http.listen("127.0.0.1", 0, "HTTP_PORT"), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(http.serve(named, listening, stop))
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()


@pytest.fixture
async def service(
    connect: Connect, broker_url: str, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """The service on a real RabbitMQ; each of its loops is known by its name."""
    with capture_logs():  # thousands of tracebacks
        async with connect(broker_url=broker_url, failure_pause=0.1) as service:
            await rows(service, FAIL)
            for type_ in (CONSUMER, SUSPECTS):
                service.handlers[type_] = service.handlers["sale.made"]
            within(CONSUMER, service.consumer, "process", monkeypatch)
            within(SUSPECTS, service.suspects, "process", monkeypatch)
            within(ARCHIVER, service.archiver, "_work", monkeypatch)
            within(RELAY, service.relay, "run", monkeypatch)
            yield service


CONSUMER, SUSPECTS, ARCHIVER, RELAY = "consumer", "suspects", "archiver", "relay"


def total(metric: Any, **labels: str) -> float:
    """The sum of a metric; to collect all of them each time takes longer than all the rest."""
    samples = (sample for family in metric.collect() for sample in family.samples)
    return sum(
        float(each.value)
        for each in samples
        if not each.name.endswith("_created") and labels.items() <= each.labels.items()
    )


def processed(service: Service, type_: str) -> Any:
    """How many messages of a type are settled; 0 while one is in hand."""

    async def ended() -> float:
        if total(service.metrics.messages_in_flight):
            return 0
        counter, outcomes = (
            service.metrics.messages_processed,
            ("done", "duplicate", "dead_lettered"),
        )
        return sum(total(counter, type=type_, outcome=each) for each in outcomes)

    return ended


def to(service: Service, queue: Queue, type_: str, **changes: Any) -> Any:
    """Sends a message of this type straight to a queue."""

    async def provoke() -> None:
        message = replace(sold(**changes), type=type_)
        await service.broker.publish(message, exchange=DEFAULT_EXCHANGE, routing_key=queue.name)

    return provoke


def archiving(service: Service) -> Loop:
    """The loop of the archiver."""

    async def ended() -> float:
        return total(service.metrics.dead_letters_archived)

    provoke = to(service, service.topology.dead_letters, "any")
    return Loop(ARCHIVER, provoke, ended)


def relaying(service: Service, heard: list[Heard], *causes: Any) -> Loop:
    """The loop of the relay."""

    async def ended() -> float:
        return len({each.id for each in heard})

    return Loop(RELAY, partial(add, service, (HEARD, "any", 1), ordered=False), ended, *causes)


def asking(name: str, ask: Callable[[], Awaitable[int]], *causes: Any) -> Loop:
    """A loop of requests; each gets an answer, and a good one when there is no trouble."""

    async def provoke() -> None:
        assert await ask() >= 500

    async def ended() -> float:
        return time.monotonic() if await ask() < 300 else 0

    return Loop(name, provoke, ended, *causes)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """All its loops; at the end they are drained."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.consume(stop))
        group.create_task(service.publish(stop))
        try:
            yield
        finally:
            stop.set()


async def all_cells(service: Service, trouble: Trouble, *loops: Loop) -> None:
    """All loops at the same time; afterwards everything is well."""
    failed = await asyncio.gather(*(each.cells(trouble) for each in loops))
    assert not [each for some in failed for each in some]
    await eventually(lambda: ready(service), within=SOON)


async def ready(service: Service) -> bool:
    """Whether `/ready` is green."""
    async with port(
        "the test", operations(service.metrics, probes(service, asyncio.Event()))
    ) as number:
        status, _ = await get(number, "/ready")
    return status == 200


# feature: http_api {
def post(port: int) -> int:
    """Hand in a sale; the status of the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/sales", json.dumps(FORM), HEADERS)
    status = connection.getresponse().status
    connection.close()
    return status


# feature: http_api }
async def test_whatever_postgresql_or_its_driver_says(service: Service, trouble: Trouble) -> None:
    """No message is blamed for it, but for what looks like a bug in the handler."""
    heard, topology = await listen(service, HEARD), service.topology
    async with (
        running(service),
        port(
            "probes", operations(service.metrics, probes(service, asyncio.Event()))
        ) as operations_port,
        port("API", service.api()) as api_port,  # feature: http_api
    ):

        async def ready() -> int:
            return (await get(operations_port, "/ready"))[0]

        await all_cells(
            service,
            trouble,
            Loop(CONSUMER, to(service, topology.main, CONSUMER), processed(service, CONSUMER)),
            Loop(SUSPECTS, to(service, topology.suspects, SUSPECTS), processed(service, SUSPECTS)),
            archiving(service),
            relaying(service, heard),
            asking("probes", ready, {"BEGIN": CAUSES}),
            asking("API", partial(asyncio.to_thread, post, api_port)),  # feature: http_api
        )
    assert restarts(service) <= {"archiver"}


def restarts(service: Service) -> set[str]:
    """The parts that have ended and were started again."""
    return {
        sample.labels["part"]
        for family in service.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "part_restarts_total" and sample.value
    }


async def test_whatever_rabbitmq_or_aiormq_says(service: Service, trouble: Trouble) -> None:
    """When a message is acked, and when an event or a copy of a message is published."""
    heard, topology = await listen(service, HEARD), service.topology
    async with running(service):
        await all_cells(
            service,
            trouble,
            Loop(
                CONSUMER,
                to(service, topology.main, CONSUMER),
                processed(service, CONSUMER),
                {"ack": PUBLISHING},
            ),
            Loop(
                SUSPECTS,
                to(service, topology.suspects, SUSPECTS, lines=[]),
                processed(service, SUSPECTS),
                {"publish": PUBLISHING},
            ),
            relaying(service, heard, {"publish": PUBLISHING}),
        )


CONFLICTS = {"40001", "40P01", "55P03"}


def fate(state: str) -> str:
    """The reason of the dead letter that a message becomes which always meets this."""
    if state.startswith(("22", "23502", "23514")) and state != "2200H":
        return "constraint"
    return "retries_exhausted"


async def test_what_a_message_always_meets(connect: Connect, trouble: Trouble) -> None:
    """One message for each SQLSTATE, all at once: each ends as the table says, others go on."""
    mended = set[str]()

    async def meet(sales: Any, state: str) -> None:
        if state not in mended:
            await sales.fetch_sql("SELECT fail(%s)", state)

    messages = {each: bad(each) for each in STATES}
    sent = {str(each.message_id): state for state, each in messages.items()}
    with capture_logs():
        async with connect(failure_pause=0.5) as service:
            await rows(service, FAIL)
            meeting(service, meet)
            async with everything(service):
                await send(service, *messages.values())
                good = 0
                while sum((await fates(service)).dead.values()) < len(STATES) - len(CONFLICTS):
                    await send(service, sold())
                    good += 1
                    await asyncio.sleep(0.05)
                mended |= CONFLICTS
                expected = good + len(CONFLICTS)
                await eventually(lambda: stored(service, expected))
                assert await service.triage.check() == ""
            found = await rows(service, "SELECT message_id, reason FROM dead_letters")
    assert {sent[each]: reason for each, reason in found} == {
        state: fate(state) for state in STATES if state not in CONFLICTS
    }


async def stored(service: Service, sales: int) -> bool:
    """Whether there are so many sales."""
    return (await fates(service)).sales == sales
