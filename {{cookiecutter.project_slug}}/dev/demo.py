"""Thousands of messages, many of them troublesome, through the whole service: `make demo`.

They are made from the examples of whatever handlers there are. Duplicates, other messages under a
known id, some that cannot be read, and handlers that fail at first: at the end a table accounts for
every message that was sent, and for every event.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from uuid import uuid4

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from structlog.contextvars import get_contextvars

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.service import SERVICE

from dev.stories import Shot, stories
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema

GOOD, DUPLICATES, CONFLICTS, MALFORMED, FALTERING = 3000, 300, 5, 30, 60
PUBLISHED = "outbox_published_total"
NEXT = {
    "src/acme_orders/service.py": "your slices: edit them",
    "docs/architecture.md": "the way of a message, and what happens on failure",
    "docs/first-hour.md": "from here to a slice of your own",
    "make test, make readiness": "the proofs",
}
PATIENCE = 60.0  # seconds without progress; then the demo says what is missing


@dataclass(frozen=True)
class Load:
    """What is sent.

    Args:
        good: messages, each to be processed once.
        sent: they, and those that make trouble.
        faltering: ids of good ones whose first attempt fails.
    """

    good: Sequence[Shot]
    sent: Sequence[Message]
    faltering: frozenset[str]


def load_for(service: Service) -> Load:
    """Messages for the handlers of a service, in the order in which they are sent."""
    each = sum(1 for shots in stories(service.handlers, 1) for _ in shots)
    told = stories(service.handlers, -(-GOOD // each), varied=False)
    good = [shot for alike in zip(*told, strict=True) for shot in alike]
    again, last = random.sample(range(FALTERING, len(good)), DUPLICATES + CONFLICTS), len(good)
    sent = [(float(place), shot.message) for place, shot in enumerate(good)]
    for number, place in enumerate(again):
        # One byte more is other content.
        more = b"" if number < DUPLICATES else b" "
        message = good[place].message
        sent.append((random.uniform(place, last), replace(message, body=message.body + more)))
    for _ in range(MALFORMED):
        broken = Message(b"{ no JSON", str(uuid4()), good[0].type, "demo")
        sent.append((random.uniform(0, last), broken))
    sent.sort(key=itemgetter(0))
    faltering = frozenset(shot.id for shot in good[:FALTERING])
    return Load(good, [message for _, message in sent], faltering)


def falter(service: Service, load: Load) -> None:
    """Let each handler fail at the first attempt of some messages."""

    def faltering(handler: Handler) -> Handler:
        async def handle(payload: object) -> None:
            known = get_contextvars()
            if known["attempt"] == 1 and known["message_id"] in load.faltering:
                raise RuntimeError("the demo lets this message fail at its first attempt")
            await handler.handle(payload)

        return Handler(handler.payload, handle)

    for type_, handler in service.handlers.items():
        service.handlers[type_] = faltering(handler)


async def demonstrate(console: Console) -> bool:
    """Run the demo; whether every message is accounted for."""
    settings = SERVICE.load_settings(retry_ladder=(1.0, 2.0, 5.0), listen_host="127.0.0.1")
    logs.configure(level="CRITICAL", style="console")
    for migration, seconds in Migrator(settings.database_url).up():
        console.print(f"migration {migration} applied ({seconds:.2f} s)")
    Tenants(settings.database_url).add(TENANT, "demo")  # feature: row, rls, schema
    list(Migrator(settings.database_url).up())  # feature: schema
    where = "RabbitMQ" if settings.broker_url.startswith("amqp") else "memory:// (no RabbitMQ here)"
    metrics = Metrics()
    async with connected(SERVICE, settings, metrics) as service:
        if not service.handlers:
            console.print("This service has no handler yet: write a slice, and list it.")
            return True
        console.print(f"broker: {where}; in go {', '.join(service.handlers)}\n")
        events = {event.name for slice_ in service.slices for event in slice_.publishes}
        others = tuple(events - service.handlers.keys())
        listener = Queue(f"{service.topology.main.name}.listener", bindings=others)
        await service.broker.declare("events", [listener])
        load = load_for(service)
        falter(service, load)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(service.consumer.run(stop))
            parts.create_task(service.relay.run(stop))
            began = time.monotonic()
            await _send(service, load)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE) as limit:
                    await _settled(service, metrics, load, console, limit)
            seconds = time.monotonic() - began
            stop.set()
        return await _account(service, metrics, load, seconds, console)


async def _send(service: Service, load: Load) -> None:
    for start in range(0, len(load.sent), 100):
        await asyncio.gather(
            *(
                service.broker.publish(each, exchange="events", routing_key=str(each.type))
                for each in load.sent[start : start + 100]
            )
        )


async def _settled(
    service: Service, metrics: Metrics, load: Load, console: Console, limit: asyncio.Timeout
) -> None:
    """Wait until every message has come to an end and no event waits; show how far it is."""
    before = (0, 0)
    with Progress(console=console) as progress:
        settling = progress.add_task("messages settled", total=len(load.sent))
        publishing = progress.add_task("events published", total=None)
        while True:
            ended = sum(_ended(metrics, each) for each in ("done", "duplicate", "dead_lettered"))
            published, waiting = _count(metrics, PUBLISHED), _waiting(service)
            expected = len(load.sent) + _own(service, metrics)
            progress.update(settling, completed=ended, total=expected)
            progress.update(publishing, completed=published, total=published + waiting)
            if ended >= expected and not waiting:
                return
            if (ended, published) != before:
                before = (ended, published)
                limit.reschedule(asyncio.get_running_loop().time() + PATIENCE)
            await asyncio.sleep(0.1)


async def _account(
    service: Service, metrics: Metrics, load: Load, seconds: float, console: Console
) -> bool:
    done, duplicates, retried, dead = (
        _ended(metrics, each) for each in ("done", "duplicate", "retried", "dead_lettered")
    )
    own, published = _own(service, metrics), _count(metrics, PUBLISHED)
    heard = await service.broker.count(f"{service.topology.main.name}.listener")
    in_dead_letters = await service.broker.count(service.topology.dead_letters.name)
    lost = len(load.sent) + own - done - duplicates - dead
    table = Table("", "messages", "expected", title="Every message accounted for")
    right = True
    for name, found, expected in (
        ("sent", len(load.sent), len(load.good) + DUPLICATES + CONFLICTS + MALFORMED),
        ("processed", done, len(load.good) + own),
        ("duplicates dropped", duplicates, DUPLICATES),
        ("failed at first, retried", min(retried, FALTERING), FALTERING),
        ("dead letters: cannot be read", _dead(metrics, "malformed"), MALFORMED),
        ("dead letters: known id, other content", _dead(metrics, "payload_mismatch"), CONFLICTS),
        ("lost", lost, 0),
        ("events that a listener received", heard, published - own),
        ("left in the outbox", _waiting(service), 0),
        ("in the dead-letter queue", in_dead_letters, MALFORMED + CONFLICTS),
    ):
        right = right and found == expected
        mark = "green" if found == expected else "red"
        table.add_row(name, f"[{mark}]{found}[/]", str(expected))
    console.print(table)
    console.print(
        f"{len(load.sent) / seconds:.0f} messages/s on this machine, everything included.\n"
    )
    places = Table.grid(padding=(0, 3))
    for place, what in NEXT.items():
        places.add_row(f"  {place}", what)
    console.print("Where to look next:", places)
    return right


def _ended(metrics: Metrics, outcome: str) -> int:
    return _count(metrics, "messages_processed_total", outcome=outcome)


def _dead(metrics: Metrics, reason: str) -> int:
    return _count(metrics, "dead_letters_total", reason=reason)


def _own(service: Service, metrics: Metrics) -> int:
    """Events of the service that come back, because it has handlers for them."""
    return sum(_count(metrics, PUBLISHED, type=each) for each in service.handlers)


def _count(metrics: Metrics, name: str, **labels: str) -> int:
    samples = (each for metric in metrics.registry.collect() for each in metric.samples)
    return int(
        sum(
            each.value
            for each in samples
            if each.name == name and labels.items() <= each.labels.items()
        )
    )


def _waiting(service: Service) -> int:
    ((waiting,),) = rows_of(service.settings.database_url, "SELECT count(*) FROM outbox")
    return int(waiting)


def main() -> int:
    """Run the demo and return the exit status."""
    os.environ.setdefault("ENVIRONMENT", "development")
    return 0 if asyncio.run(demonstrate(Console())) else 1


if __name__ == "__main__":
    sys.exit(main())
