"""Thousands of orders, many of them troublesome, through the whole service: `make demo`.

Duplicates, messages that cannot be read and a handler that fails at first: at the end a table
accounts for every message that was sent, and for every effect in the database.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from structlog.contextvars import get_contextvars

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, encode
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.migrations.runner import Migrator
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.service import Service, connected
from acme_orders.chassis.tenancy.registry import Tenants  # feature: row, rls, schema
from acme_orders.orders.messages import (
    ORDER_ACCEPTED,
    ORDER_PLACED,
    OrderPlaced,
)
from acme_orders.service import SERVICE

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema

ORDERS, DUPLICATES, MALFORMED, FALTERING = 3000, 300, 30, 60
PATIENCE = 120.0  # seconds; then the demo says what is missing instead of waiting on


@dataclass
class Faltering:
    """A handler that fails at the first attempt of some orders."""

    handle: Callable[[OrderPlaced], Awaitable[None]]
    fails_for: set[UUID] = field(default_factory=set)

    async def __call__(self, order: OrderPlaced) -> None:
        """Fail unless this is a retry."""
        if order.order_id in self.fails_for and get_contextvars()["attempt"] == 1:
            raise RuntimeError("the demo lets this order fail at its first attempt")
        await self.handle(order)


async def demonstrate(console: Console) -> bool:
    """Run the demo; whether every message is accounted for."""
    settings = SERVICE.load_settings(retry_ladder=(1.0, 2.0, 5.0), listen_host="127.0.0.1")
    logs.configure(level="CRITICAL", style="console")
    for migration, seconds in Migrator(settings.database_url).up():
        console.print(f"migration {migration} applied ({seconds:.2f} s)")
    Tenants(settings.database_url).add(TENANT, "demo")  # feature: row, rls, schema
    list(Migrator(settings.database_url).up())  # feature: schema
    where = "RabbitMQ" if settings.broker_url.startswith("amqp") else "memory:// (no RabbitMQ here)"
    console.print(f"broker: {where}; orders go in, and a listener waits for {ORDER_ACCEPTED}\n")
    metrics = Metrics()
    async with connected(SERVICE, settings, metrics) as service:
        listener = Queue(f"{service.topology.main.name}.listener", bindings=(ORDER_ACCEPTED,))
        await service.broker.declare("events", [listener])
        falter = Faltering(service.handlers[ORDER_PLACED].handle)
        service.handlers[ORDER_PLACED] = Handler(OrderPlaced, falter)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(service.consumer.run(stop))
            parts.create_task(service.relay.run(stop))
            began = time.monotonic()
            await _send_all(service, falter)
            await _watch(service, metrics, listener.name, console)
            seconds = time.monotonic() - began
            stop.set()
        return await _account(service, metrics, listener.name, seconds, console)


async def _send_all(service: Service, falter: Faltering) -> None:
    orders = [_order(number) for number in range(ORDERS)]
    falter.fails_for.update(order.order_id for order in orders[:FALTERING])
    messages = [_message(order) for order in orders]
    messages += random.sample(messages[FALTERING:], DUPLICATES)
    messages += [
        Message(b"{ no JSON", str(uuid4()), ORDER_PLACED, "demo") for _ in range(MALFORMED)
    ]
    random.shuffle(messages)
    for start in range(0, len(messages), 100):
        await asyncio.gather(
            *(
                service.broker.publish(each, exchange="events", routing_key=ORDER_PLACED)
                for each in messages[start : start + 100]
            )
        )


def _order(number: int) -> OrderPlaced:
    example = OrderPlaced.example()
    return OrderPlaced.model_validate(
        {
            **example,
            "order_id": uuid4(),
            "customer_email": f"customer-{number % 500}@example.com",
            "placed_at": datetime.now(UTC),
        }
    )


def _message(order: OrderPlaced) -> Message:
    body = order.model_dump_json().encode()
    return encode(
        str(uuid4()),
        ORDER_PLACED,
        "demo",
        datetime.now(UTC),
        body,
        extensions={"tenant": str(TENANT)},  # feature: row, rls, schema
    )


def _settled(metrics: Metrics, outcome: str) -> int:
    labels = {"type": ORDER_PLACED, "outcome": outcome}
    return int(metrics.registry.get_sample_value("messages_processed_total", labels) or 0)


async def _watch(service: Service, metrics: Metrics, listener: str, console: Console) -> None:
    sent = ORDERS + DUPLICATES + MALFORMED
    deadline = time.monotonic() + PATIENCE
    with Progress(console=console) as progress:
        settling = progress.add_task("messages settled", total=sent)
        announcing = progress.add_task("events announced", total=ORDERS)
        while time.monotonic() < deadline:
            finals = sum(_settled(metrics, each) for each in ("done", "duplicate", "dead_lettered"))
            announced = await service.broker.count(listener)
            progress.update(settling, completed=finals)
            progress.update(announcing, completed=announced)
            if finals >= sent and announced >= ORDERS:
                return
            await asyncio.sleep(0.1)


async def _account(
    service: Service, metrics: Metrics, listener: str, seconds: float, console: Console
) -> bool:
    sent = ORDERS + DUPLICATES + MALFORMED
    done, duplicates, retried, dead = (
        _settled(metrics, each) for each in ("done", "duplicate", "retried", "dead_lettered")
    )
    lost = sent - done - duplicates - dead
    counts = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM outbox)"
    ((stored, waiting),) = rows_of(service.settings.database_url, counts)
    announced = await service.broker.count(listener)
    in_dead_letters = await service.broker.count(service.topology.dead_letters.name)
    table = Table("", "messages", "expected", title="Every message accounted for")
    expectations = [
        ("sent", sent, sent),
        ("processed", done, ORDERS),
        ("duplicates dropped", duplicates, DUPLICATES),
        ("failed at first, retried", retried, FALTERING),
        ("dead-lettered", dead, MALFORMED),
        ("lost", lost, 0),
        ("orders in PostgreSQL", stored, ORDERS),
        (f"{ORDER_ACCEPTED} received", announced, ORDERS),
        ("left in the outbox", waiting, 0),
        ("in the dead-letter queue", in_dead_letters, MALFORMED),
    ]
    for name, found, expected in expectations:
        right = found == expected
        mark = "green" if right else "red"
        table.add_row(name, f"[{mark}]{found}[/]", str(expected))
    console.print(table)
    console.print(f"{sent / seconds:.0f} messages/s on this machine, everything included.\n")
    console.print(
        "Where to look next:\n"
        "  src/acme_orders/orders/        what happens to an order: edit it\n"
        "  docs/architecture.md           the way of a message, and what happens on failure\n"
        "  make test, make readiness      the proofs"
    )
    return all(found == expected for _, found, expected in expectations)


def main() -> int:
    """Run the demo and return the exit status."""
    os.environ.setdefault("ENVIRONMENT", "development")
    return 0 if asyncio.run(demonstrate(Console())) else 1


if __name__ == "__main__":
    sys.exit(main())
