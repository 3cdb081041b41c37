"""The limit: asyncpg and aiormq with nothing in between, one transaction for each natural batch.

Each worker has a channel and a connection of its own, so one ack settles its whole batch. When a
connection is lost the process ends: what was not acked comes back, to whoever is started next.
It reads DATABASE_URL, BROKER_URL, BATCH and WORKERS.
"""

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel, DeliveredMessage
from sales import QUEUE, SALE_BOOKED, Envelope, RefusedError, SaleBooked, read

# A plan that was made while the tables were small would read all of them when they are large.
PLANNING = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

CLAIM = f"""
    INSERT INTO inbox (consumer, source, id, type, payload_hash)
    SELECT '{QUEUE}', * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
    ON CONFLICT DO NOTHING RETURNING source, id
"""
SEEN = f"""
    SELECT source, id, payload_hash FROM inbox WHERE consumer = '{QUEUE}'
    AND (source, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
# Those who are known are left alone, and the others come in one sale: two batches with the same
# buyers would otherwise wait for each other.
ADD_BUYERS = """
    INSERT INTO buyers (id, email)
    SELECT gen_random_uuid(), email FROM unnest($1::text[]) AS email
    WHERE NOT EXISTS (SELECT FROM buyers WHERE buyers.email = email.email)
    ORDER BY email ON CONFLICT (email) DO NOTHING
"""
# A statement after the one above: it also sees buyers that others have committed meanwhile.
ADD_ORDERS = """
    INSERT INTO sales (id, buyer_id, status, currency, total_cents, made_at)
    SELECT new.id, buyers.id, 'booked', currency, total_cents, made_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
        AS new (id, email, currency, total_cents, made_at)
    JOIN buyers USING (email)
    ORDER BY new.id ON CONFLICT (id) DO NOTHING RETURNING id
"""
ADD_LINES = """
    INSERT INTO sale_lines (sale_id, position, sku, quantity, unit_price_cents)
    SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::integer[], $5::bigint[])
"""
ADD_AUDIT = f"""
    INSERT INTO journal (id, event_type, payload)
    SELECT gen_random_uuid(), '{SALE_BOOKED}', payload FROM unnest($1::jsonb[]) AS payload
"""
ADD_EVENTS = f"""
    INSERT INTO outbox (message_id, type, body, extensions)
    SELECT gen_random_uuid(), '{SALE_BOOKED}', body,
        jsonb_build_object('correlationid', correlation_id)
    FROM unnest($1::text[], $2::text[]) AS event (body, correlation_id)
"""

log = logging.getLogger("sales")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A sale, and the number by which this channel knows its message."""

    tag: int
    envelope: Envelope

    @property
    def key(self) -> tuple[str, str]:
        """What tells the message from every other."""
        return self.envelope.source, self.envelope.id


class Worker:
    """Stores what its channel delivers.

    Args:
        channel: nobody else consumes on it, or acks.
        database: nobody else uses it.
        batch: most messages in one transaction.
    """

    def __init__(
        self, channel: AbstractChannel, database: asyncpg.Connection, *, batch: int
    ) -> None:
        self._channel, self._database, self._batch = channel, database, batch
        self._delivered: deque[DeliveredMessage] = deque()
        self._woken = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Begin to consume."""
        await self._channel.basic_qos(prefetch_count=2 * self._batch)
        await self._channel.basic_consume(QUEUE, self._on_message)

    async def run(self) -> None:
        """Process batches until `stop`."""
        while not self._stopping:
            if not self._delivered:
                self._woken.clear()
                await self._woken.wait()
                continue
            count = min(self._batch, len(self._delivered))
            await self._take([self._delivered.popleft() for _ in range(count)])

    def stop(self) -> None:
        """Finish the batch in hand; the rest goes back to the queue with the channel."""
        self._stopping = True
        self._woken.set()

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._delivered.append(message)
        self._woken.set()

    async def _take(self, messages: Sequence[DeliveredMessage]) -> None:
        deliveries = []
        for message in messages:
            tag = message.delivery_tag
            assert tag is not None
            try:
                deliveries.append(Delivery(tag, _read(message)))
            except RefusedError as refused:
                await self._refuse(tag, refused)
        if deliveries:
            await self._settle(deliveries)

    async def _settle(self, deliveries: Sequence[Delivery]) -> None:
        try:
            async with self._database.transaction():
                impostors = await store(self._database, deliveries)
        except Exception:
            if self._database.is_closed():
                raise
            if len(deliveries) == 1:
                log.exception("message %r failed", deliveries[0].envelope.id)
                await self._channel.basic_nack(deliveries[0].tag, requeue=True)
                return
            # One may be what fails; the others must not come to their delivery limit because of it.
            for each in deliveries:
                await self._settle([each])
            return
        for tag in impostors:
            await self._refuse(tag, "its id came before with other content")
        # RabbitMQ closes the channel on an ack for what is settled already: up to the last other.
        if good := [each.tag for each in deliveries if each.tag not in impostors]:
            await self._channel.basic_ack(good[-1], multiple=True)

    async def _refuse(self, tag: int, why: object) -> None:
        log.warning("refused: %s", why)
        await self._channel.basic_reject(tag, requeue=False)


async def store(database: asyncpg.Connection, deliveries: Sequence[Delivery]) -> set[int]:
    """Store what was not stored before; returns the tags of those that have another's id."""
    first: dict[tuple[str, str], Envelope] = {}
    for each in deliveries:
        first.setdefault(each.key, each.envelope)
    keys = sorted(first)  # or two workers could wait for each other
    ordered = [first[key] for key in keys]
    claimed = await database.fetch(
        CLAIM,
        [each.source for each in ordered],
        [each.id for each in ordered],
        [each.type for each in ordered],
        [each.payload_hash for each in ordered],
    )
    if len(claimed) == len(deliveries):
        await _accept(database, ordered)
        return set()
    entered = {(source, identity) for source, identity in claimed}
    if entered:
        await _accept(database, [first[key] for key in keys if key in entered])
    hashes = {key: first[key].payload_hash for key in entered}
    if known := [key for key in keys if key not in entered]:
        rows = await database.fetch(SEEN, *map(list, zip(*known, strict=True)))
        hashes |= {(source, identity): payload_hash for source, identity, payload_hash in rows}
    return {each.tag for each in deliveries if hashes[each.key] != each.envelope.payload_hash}


async def _accept(database: asyncpg.Connection, envelopes: Sequence[Envelope]) -> None:
    sold = {each.sale.sale_id: each for each in reversed(envelopes)}  # the first one counts
    sales = [each.sale for each in sold.values()]
    emails = [sale.buyer_email for sale in sales]
    await database.execute(ADD_BUYERS, list(set(emails)))
    added = await database.fetch(
        ADD_ORDERS,
        list(sold),
        emails,
        [sale.currency for sale in sales],
        [sale.total_cents for sale in sales],
        [sale.made_at for sale in sales],
    )
    if not added:
        return
    fresh = [sold[sale_id] for (sale_id,) in added]
    lines = [
        (each.sale.sale_id, position, line.sku, line.quantity, line.unit_price_cents)
        for each in fresh
        for position, line in enumerate(each.sale.lines, start=1)
    ]
    await database.execute(ADD_LINES, *map(list, zip(*lines, strict=True)))
    await database.execute(ADD_AUDIT, [each.sale.model_dump_json() for each in fresh])
    await database.execute(
        ADD_EVENTS,
        [_booked(each) for each in fresh],
        [each.correlation_id for each in fresh],
    )


def _booked(envelope: Envelope) -> str:
    sale = envelope.sale
    return SaleBooked(sale_id=sale.sale_id, total_cents=sale.total_cents).model_dump_json()


def _read(message: DeliveredMessage) -> Envelope:
    properties = message.header.properties
    return read(
        bytes(message.body),
        properties.headers or {},
        message_id=properties.message_id,
        app_id=properties.app_id,
        type_=properties.message_type,
    )


async def main() -> None:
    """Consume until SIGTERM or SIGINT, or until a connection is lost."""
    logging.basicConfig(level=logging.WARNING)
    batch, count = int(os.environ.get("BATCH", "100")), int(os.environ.get("WORKERS", "2"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = await aiormq.connect(os.environ["BROKER_URL"])
    channels = [await broker.channel(publisher_confirms=False) for _ in range(count)]
    databases = [
        await asyncpg.connect(os.environ["DATABASE_URL"], server_settings=PLANNING)
        for _ in range(count)
    ]
    workers = [
        Worker(channel, database, batch=batch)
        for channel, database in zip(channels, databases, strict=True)
    ]
    for worker in workers:
        await worker.start()
    print("ready", flush=True)
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())
        stopped = group.create_task(stop.wait())
        lost = [each.closing for each in channels]  # with the connection, all of them
        await asyncio.wait([stopped, *lost], return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            raise ConnectionError("a channel was lost, or the connection to RabbitMQ")
        for worker in workers:
            worker.stop()
    await broker.close()
    for database in databases:
        await database.close()


if __name__ == "__main__":
    asyncio.run(main())
