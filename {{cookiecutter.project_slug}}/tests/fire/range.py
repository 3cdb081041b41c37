"""Where stories are told: a database and a virtual host, a calm run or one under fire."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aio_pika

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.service import SERVICE

from dev.stories import Shot
from readiness.given import give
from readiness.scratch import rows_of
from tests.fire import process
from tests.fire.process import Fault
from tests.fire.state import State, state_of

LISTENER = "under-fire.listener"
_ENVIRONMENT = {
    "ENVIRONMENT": "test",
    "OTEL_SDK_DISABLED": "true",  # feature: tracing
    "LISTEN_HOST": "127.0.0.1",
    "OPERATIONS_PORT": "0",
    "HTTP_PORT": "0",
    "RETRY_LADDER": "100ms,200ms,300ms,500ms,1s,1s,1s,1s",
    "RELAY_POLL": "50ms",
    "RELAY_LEASE": "1s",
    "CONCURRENCY": "1",
    "BATCH_SIZE": "1",
    "SUSPECT_AFTER": "1000",  # it is we who kill
    "DELIVERY_LIMIT": "10000",
}
_PATIENCE = 60.0  # seconds; a process needs one


@dataclass
class Range:
    """One database and one virtual host.

    Args:
        database_url: migrated and empty.
        broker_url: with nothing in it.
        queue: where messages go in.
        plant: `module:function` that each process calls first; for tests of the tests.
    """

    database_url: str
    broker_url: str
    queue: str
    plant: str = ""
    expected: set[str] = field(default_factory=set)

    def environment(self, **changes: str) -> dict[str, str]:
        """Settings of a process."""
        urls = {"DATABASE_URL": self.database_url, "BROKER_URL": self.broker_url}
        return {**_ENVIRONMENT, **urls, **changes}

    async def send(self, *shots: Shot) -> None:
        """Publish messages, and wait for the confirms."""
        async with (
            await aio_pika.connect(self.broker_url) as connection,
            connection.channel() as to,
        ):
            for shot in shots:
                self.expected.add(shot.id)
                message = shot.message
                await to.default_exchange.publish(
                    aio_pika.Message(
                        message.body,
                        message_id=message.message_id,
                        type=message.type,
                        app_id=message.app_id,
                        headers=dict(message.headers),
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    routing_key=self.queue,
                )

    async def calm(self, **changes: str) -> None:
        """Run a process until all is done; stop it as an orchestrator does."""
        assert await self.under(**changes), "a process ended that nobody had killed"

    async def under(self, *faults: Fault, only: str | None = None, **changes: str) -> bool:
        """Run a process with faults until all is done; whether it has lived so long."""
        running = process.start(self.environment(**changes), *faults, only=only, plant=self.plant)
        deadline = time.monotonic() + _PATIENCE
        try:
            while running.exitcode is None and not await self._is_done(consumed=only == "consumer"):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {_PATIENCE:g} s: {await self.missing()}")
                await asyncio.sleep(0.05)
            lived = running.exitcode is None
            if lived and running.pid:
                os.kill(running.pid, signal.SIGTERM)
            await asyncio.to_thread(running.join, 40)
        finally:
            running.kill()
            await asyncio.to_thread(running.join)
        if not lived and running.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the process ended by itself with status {running.exitcode}")
        return lived

    async def missing(self) -> set[str]:
        """The ids of messages that are neither processed nor dead letters."""
        found = await self._rows(
            "SELECT id FROM inbox UNION ALL SELECT message_id FROM dead_letters"
        )
        return self.expected - {identity for (identity,) in found}

    async def state(self) -> State:
        """What it has come to."""
        events = []
        async with (
            await aio_pika.connect(self.broker_url) as connection,
            connection.channel() as at,
        ):
            listener = await at.get_queue(LISTENER, ensure=False)
            while received := await listener.get(fail=False):
                events.append((received.message_id or "", received.type or "", received.body))
        return await asyncio.to_thread(state_of, self.database_url, events)

    async def _is_done(self, *, consumed: bool) -> bool:
        if await self.missing():
            return False
        return consumed or not await self._rows("SELECT 1 FROM outbox LIMIT 1")

    async def _rows(self, sql: str) -> list[tuple[object, ...]]:
        return await asyncio.to_thread(rows_of, self.database_url, sql)


@asynccontextmanager
async def opened(database_url: str, broker_url: str, plant: str = "") -> AsyncIterator[Range]:
    """A range with its topology declared, and a listener that hears every event."""
    found = Range(database_url, broker_url, "", plant)
    variables = {name.lower(): value for name, value in found.environment().items()}
    async with connected(
        SERVICE, SERVICE.load_settings(_env_file=None, **variables), Metrics()
    ) as service:
        found.queue = service.topology.main.name
        exchange = service.topology.exchange
        await asyncio.to_thread(give, service, database_url)
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        listener = await channel.declare_queue(LISTENER, durable=True)
        await listener.bind(exchange, "#")
    yield found
