"""What a message, a batch of the relay and a page cost when the tables have grown."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

from acme_orders.chassis.messaging.memory import MemoryDelivery
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from benchmarks.messages import BUYERS, sales
from benchmarks.process import assembled
from benchmarks.servers import Servers
from readiness.scratch import session
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_BOOKED
from tests.chassis.slices.sales.repository import Sales

_BATCH, _ROUNDS = 100, 60
_BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
# References are not checked row by row while the tables are filled; all of them are right.
_FILL = """
SET session_replication_role = replica;
INSERT INTO buyers (
    tenant_id,  -- feature: row, rls
    id, email
) SELECT
    %(tenant)s,  -- feature: row, rls
    md5('c' || n)::uuid, 'buyer-' || n || '@example.com'
FROM generate_series(0, %(buyers)s - 1) n;
INSERT INTO inbox (
    tenant_id,  -- feature: row, rls
    consumer, source, id, type, payload_hash
) SELECT
    %(tenant)s,  -- feature: row, rls
    %(consumer)s, 'past', md5('i' || n)::uuid::text, 'sale.made', sha256(n::text::bytea)
FROM generate_series(1, %(rows)s) n;
INSERT INTO sales (
    tenant_id,  -- feature: row, rls
    id, buyer_id, status, currency, total_cents, made_at
) SELECT
    %(tenant)s,  -- feature: row, rls
    md5('o' || n)::uuid, md5('c' || n %% %(buyers)s)::uuid, 'booked', 'EUR', 450,
    %(began)s::timestamptz + n * interval '1 second'
FROM generate_series(1, %(rows)s) n;
INSERT INTO sale_lines (
    tenant_id,  -- feature: row, rls
    sale_id, position, sku, quantity, unit_price_cents
) SELECT
    %(tenant)s,  -- feature: row, rls
    md5('o' || n)::uuid, 1, 'TEA-1', 1, 450
FROM generate_series(1, %(rows)s) n;
INSERT INTO journal (
    tenant_id,  -- feature: row, rls
    id, event_type, payload
) SELECT
    %(tenant)s,  -- feature: row, rls
    md5('a' || n)::uuid, 'sale.booked', '{"total_cents": 450}'
FROM generate_series(1, %(rows)s) n;
INSERT INTO outbox (
    tenant_id,  -- feature: row, rls
    message_id, type, body, extensions
) SELECT
    %(tenant)s,  -- feature: row, rls
    md5('m' || n)::uuid, 'sale.booked', '{"total_cents": 450}', '{}'
FROM generate_series(1, %(rows)s) n;
VACUUM ANALYZE;
CHECKPOINT
"""


@dataclass(frozen=True)
class Costs:
    """Medians in seconds, of one message in a batch, one batch of the relay, and one page.

    `message` has ids in the order of time, `random_message` has not.
    """

    message: float
    random_message: float
    relay_batch: float
    page: float


async def scale(servers: Servers, *, small: int, large: int, seed: int) -> tuple[Costs, Costs]:
    """Measure with tables of both sizes, in turns, so that a slow moment hits both."""
    with servers.site() as one, servers.site() as other:
        for environment, rows in ((one, small), (other, large)):
            environment["BROKER_URL"] = "memory://"
            fill(environment["DATABASE_URL"], rows)
        async with assembled(one) as little, assembled(other) as much:
            found: dict[str, list[list[float]]] = {}
            for name, measure in _MEASURES.items():
                found[name] = [[], []]
                for number in range(_ROUNDS):
                    for at, (service, rows) in enumerate(((little, small), (much, large))):
                        seconds = await asyncio.create_task(measure(service, rows, seed + number))
                        found[name][at].append(seconds)
    costs = [Costs(**{name: median(of[at]) for name, of in found.items()}) for at in (0, 1)]
    return costs[0], costs[1]


def fill(database_url: str, rows: int) -> None:
    """Put so many rows into each table."""
    values = {
        "rows": rows,
        "buyers": BUYERS,
        "began": _BEGAN,
        "consumer": SERVICE.name,
        "tenant": str(TENANT),  # feature: row, rls, schema
    }
    with session(database_url) as cursor:
        cursor.execute("SET synchronous_commit = off")
        for statement in _FILL.split(";"):
            _run(cursor, statement, values)


def _run(cursor: Any, statement: str, values: Mapping[str, Any]) -> None:
    cursor.execute(statement, values if "%(" in statement else None)


async def _message(service: Service, _: int, seed: int, *, ordered: bool = True) -> float:
    messages = list(sales(_BATCH, seed=1000 + seed, ordered=ordered))
    deliveries = [MemoryDelivery(each, SERVICE.name, 0, lambda *_: None) for each in messages]
    began = time.perf_counter()
    await service.consumer.process(deliveries)
    return (time.perf_counter() - began) / _BATCH


async def _random_message(service: Service, rows: int, seed: int) -> float:
    return await _message(service, rows, seed, ordered=False)


async def _relay_batch(service: Service, _: int, __: int) -> float:
    listener = Queue("listener", bindings=(SALE_BOOKED,))
    await service.broker.declare(service.topology.exchange, [listener])
    began = time.perf_counter()
    await service.relay.run_once()
    return time.perf_counter() - began


async def _page(service: Service, rows: int, seed: int) -> float:
    work_for(TENANT)  # feature: row, rls, schema
    at = random.Random(seed).randrange(rows)
    after = (_BEGAN + timedelta(seconds=at), UUID(int=0))
    repository = next(each for each in service.repositories if isinstance(each, Sales))
    began = time.perf_counter()
    async with service.manager.transaction("page", read_only=True):
        await repository.page(after=after)
    return time.perf_counter() - began


_MEASURES: dict[str, Callable[[Service, int, int], Coroutine[Any, Any, float]]] = {
    "message": _message,
    "random_message": _random_message,
    "relay_batch": _relay_batch,
    "page": _page,
}
