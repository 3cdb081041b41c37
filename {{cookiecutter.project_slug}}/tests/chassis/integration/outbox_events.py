"""Events in the outbox, relays that publish them, and somebody who listens."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika

from acme_orders.chassis.messaging.broker import Delivery, Message
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service, assemble
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import count, rows
from tests.chassis.service import SERVICE

HEARD, UNHEARD = "thing.heard", "thing.unheard"
# What SQL by hand, a mistake, or an older version may have put there: columns of one row.
POISON = {
    "a type that is too long": {"type": f"'{'t' * 300}'"},
    "a type of too many bytes": {"type": f"'{'ü' * 200}'"},
    "a header larger than a frame": {"extensions": "jsonb_build_object('a', repeat('x', 200000))"},
    "many headers, together too large": {
        "extensions": "(SELECT jsonb_object_agg('h' || n, repeat('x', 200))"
        " FROM generate_series(1, 700) n)"
    },
    "extensions that are a list": {"extensions": "'[1, 2]'"},
    "extensions that are a text": {"extensions": "'\"text\"'"},
    "extensions that are null": {"extensions": "'null'"},
    "a number beyond 64 bits": {"extensions": f"'{{\"a\": {10**30}}}'"},
    "a number that Python does not read": {"extensions": f"'{{\"a\": {'9' * 5000}}}'"},
    "nested without end": {"extensions": f"'{{\"a\": {'[' * 2000}{']' * 2000}}}'"},
    "a name that is too long": {"extensions": f"'{{\"{'n' * 200}\": 1}}'"},
    "a time without end": {"created_at": "'infinity'"},
    "a time before Christ": {"created_at": "'0044-03-15 BC'"},
    "a body above the limit": {"body": "repeat('x', 2000000)"},
}


class Step(Payload):
    """What happened to one thing, and when in its life."""

    key: str
    number: int


@dataclass(frozen=True)
class Heard:
    """A message that a consumer of our events got."""

    id: str | None
    type: str | None
    key: str
    number: int


async def add(service: Service, *events: tuple[str, str, int], ordered: bool = True) -> None:
    """Commit events, each a type, a key and its number."""
    outbox = next(each for each in service.repositories if isinstance(each, Outbox))

    async def unit() -> None:
        work_for(TENANT)  # feature: row, rls, schema
        async with service.manager.transaction("test"):
            for type_, key, number in events:
                step = Step(key=key, number=number)
                await outbox.add(type_, step, key=key if ordered else None)

    await asyncio.create_task(unit())


async def smuggle(service: Service, series: str = "generate_series(1, 1)", **columns: str) -> None:
    """Write events as `outbox.add` never would: SQL for each column."""
    written = {"message_id": "gen_random_uuid()", "type": f"'{HEARD}'", "body": "'{}'"} | columns
    written["tenant_id"] = f"'{TENANT}'"  # feature: row, rls
    values = ", ".join(written.values())
    await rows(service, f"INSERT INTO outbox ({', '.join(written)}) SELECT {values} FROM {series}")


def many(type_: str, how_many: int, *, key: str = "any") -> list[tuple[str, str, int]]:
    """So many events of one type, with their numbers."""
    return [(type_, key, number) for number in range(how_many)]


@asynccontextmanager
async def relays(service: Service, how_many: int = 1) -> AsyncIterator[None]:
    """So many relays at once, each with a wake-up of its own; they stop in order."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(how_many):
            another = assemble(
                SERVICE,
                service.settings,
                metrics=service.metrics,
                manager=service.manager,
                broker=service.broker,
            )
            group.create_task(another.relay.run(stop))
        try:
            yield
        finally:
            stop.set()


async def listen(service: Service, *types: str, queue: str = "listener") -> list[Heard]:
    """Everything that arrives of these types, in its sale, from now on."""
    await service.broker.declare("events", [Queue(queue, bindings=types)])
    heard: list[Heard] = []

    def deliver(delivery: Delivery) -> None:
        message: Message = delivery.message
        step = json.loads(message.body)
        heard.append(Heard(message.message_id, message.type, step["key"], step["number"]))

    await service.broker.consume(queue, prefetch=20_000, deliver=deliver)
    return heard


async def unbind(service: Service, type_: str, queue: str = "listener") -> None:
    """Nobody listens to this type any more."""
    connection = await aio_pika.connect(service.settings.broker_url)
    async with connection, connection.channel() as channel:
        await (await channel.get_queue(queue, ensure=False)).unbind("events", type_)


def numbers(heard: list[Heard], type_: str) -> list[int]:
    """The numbers that arrived of one type, in their order."""
    return [each.number for each in heard if each.type == type_]


def by_key(heard: list[Heard]) -> dict[str, list[int]]:
    """The numbers that arrived of each key, in their order."""
    found: dict[str, list[int]] = defaultdict(list)
    for each in heard:
        found[each.key].append(each.number)
    return found


async def is_empty(service: Service) -> bool:
    """Whether no event waits."""
    return await count(service, "outbox") == 0


def metric(service: Service, name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels; 0 without any."""
    return sum(
        sample.value
        for family in service.metrics.registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
