"""Where a fault happens: one database, one virtual host, and the queues in it."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPError
from yarl import URL

from acme_orders.chassis.messaging.topology import Queue, Topology
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.rabbitmq.addresses import nodes

from readiness.scratch import rows_of
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SALE_BOOKED

LISTENER = "listener"
# What every process gets. The waits suit a test; nothing else differs from production.
ENVIRONMENT = {
    "ENVIRONMENT": "test",
    "LISTEN_HOST": "127.0.0.1",
    "OPERATIONS_PORT": "0",
    "HTTP_PORT": "0",
    "RELAY_POLL": "100ms",
    "RELAY_LEASE": "2s",
    "RETRY_LADDER": "200ms,300ms,500ms",
    "CONCURRENCY": "4",
    "BATCH_SIZE": "10",
}


@dataclass(frozen=True)
class Site:
    """One database and one virtual host, with the topology declared and a listener bound.

    Args:
        database_url: directly to PostgreSQL, whatever stands between it and the processes.
        broker_url: likewise.
        topology: of the service.
        environment: of its processes.
        entered: SQL for the ids of all messages that were processed.
        late: condition, with its AND, of dead letters that count.
    """

    database_url: str
    broker_url: str
    topology: Topology
    environment: Mapping[str, str]
    entered: str = "SELECT id FROM inbox"
    late: str = ""

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What is committed."""
        return await asyncio.to_thread(rows_of, self.database_url, sql)

    async def count(self, table: str) -> int:
        """How many rows a table has."""
        ((found,),) = await self.rows(f"SELECT count(*) FROM {table}")
        return int(found)

    async def waiting(self) -> dict[str, int]:
        """How many messages are ready in each queue that has some, and rows in the outbox."""
        found = {"outbox": await self.count("outbox")}
        async with self.channel() as channel:
            for queue in self.topology:
                declared = await channel.declare_queue(queue.name, passive=True)
                found[queue.name] = declared.declaration_result.message_count or 0
        return {name: number for name, number in found.items() if number}

    async def taken(self, queue: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
        """Take all messages out of a queue."""
        async with self.channel() as channel:
            source, found = await channel.get_queue(queue, ensure=False), []
            while incoming := await source.get(fail=False):
                await incoming.ack()
                found.append(incoming)
            return found

    async def announced(self) -> dict[str, list[str]]:
        """The message ids of the accepted events, by sale; they are taken out."""
        found = defaultdict(list)
        for incoming in await self.taken(LISTENER):
            found[json.loads(incoming.body)["sale_id"]].append(str(incoming.message_id))
        return found

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """A channel with confirms, on a connection of its own."""
        async with (
            await self._connected() as connection,
            connection.channel(on_return_raises=True) as channel,
        ):
            yield channel

    async def _connected(self) -> aio_pika.abc.AbstractConnection:
        *others, last = nodes(self.broker_url)
        for node in others:
            with suppress(AMQPError, OSError):
                return await _open(node)
        return await _open(last)


async def _open(node: URL) -> aio_pika.abc.AbstractConnection:
    connection = aio_pika.Connection(node)
    try:
        await connection.connect(timeout=10)
    except BaseException:  # else aio-pika closes it when it is collected, in whatever thread
        await connection.close()
        raise
    return connection


@asynccontextmanager
async def opened(
    database_url: str, broker_url: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Site]:
    """A site on a migrated database and an empty virtual host.

    Args:
        database_url: of the database.
        broker_url: of the virtual host.
        environment: settings of all its processes that differ from `ENVIRONMENT`.
    """
    variables = {
        **ENVIRONMENT,
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        **(environment or {}),
    }
    overrides: dict[str, Any] = {name.lower(): value for name, value in variables.items()}
    # Nothing goes wrong here yet, but a machine may be busy.
    overrides |= {"acquire_timeout": "30s", "handler_timeout": "60s"}
    settings = SERVICE.load_settings(_env_file=None, **overrides)
    async with connected(SERVICE, settings, Metrics()) as service:
        listener = Queue(LISTENER, bindings=(SALE_BOOKED,))
        await service.broker.declare("events", [listener])
        site = Site(database_url, broker_url, service.topology, variables)
    yield site
