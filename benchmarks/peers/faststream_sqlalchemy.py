"""The usual way: FastStream, SQLAlchemy and asyncpg, one transaction for each message.

FastStream acks when the handler has returned, which is after COMMIT, and gives the message back
when it raised. It reads DATABASE_URL, BROKER_URL and PREFETCH.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from faststream import AckPolicy, FastStream
from faststream.exceptions import RejectMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from sales import QUEUE, SALE_BOOKED, Envelope, RefusedError, SaleBooked, SaleMade, read
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    insert,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

MOST_CONNECTIONS = 20  # more would only wait for each other in PostgreSQL
GRACE = 1.0  # seconds for handlers that are under way when the process has to end

log = logging.getLogger("sales")

metadata = MetaData()
inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("payload_hash", LargeBinary, nullable=False),
)
buyers = Table(
    "buyers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
)
sales = Table(
    "sales",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("buyer_id", ForeignKey("buyers.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_cents", BigInteger, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
)
sale_lines = Table(
    "sale_lines",
    metadata,
    Column("sale_id", ForeignKey("sales.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price_cents", BigInteger, nullable=False),
)
journal = Table(
    "journal",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
)
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message_id", Uuid, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("extensions", JSONB, nullable=False),
)

# Built once: SQLAlchemy finds what it has compiled by the statement.
CLAIM = postgresql.insert(inbox).on_conflict_do_nothing().returning(inbox.c.id)
SEEN = select(inbox.c.payload_hash).where(
    inbox.c.consumer == bindparam("consumer"),
    inbox.c.source == bindparam("source"),
    inbox.c.id == bindparam("id"),
)
KNOWN_BUYER = select(buyers.c.id).where(buyers.c.email == bindparam("email"))
ADD_BUYER = (
    postgresql.insert(buyers)
    .on_conflict_do_nothing(index_elements=[buyers.c.email])
    .returning(buyers.c.id)
)
ADD_ORDER = (
    postgresql.insert(sales)
    .on_conflict_do_nothing(index_elements=[sales.c.id])
    .returning(sales.c.id)
)
ADD_LINES, ADD_AUDIT, ADD_EVENT = insert(sale_lines), insert(journal), insert(outbox)


async def decode(message: RabbitMessage) -> Envelope:
    """Read a delivery; what cannot be read goes to the dead letters."""
    raw = message.raw_message
    try:
        return read(
            message.body,
            message.headers,
            message_id=raw.message_id,  # FastStream would make one up
            app_id=raw.app_id,
            type_=raw.type,
        )
    except RefusedError as refused:
        log.warning("refused: %s", refused)
        raise RejectMessage from refused


def handler(engine: AsyncEngine) -> Callable[[Envelope], Awaitable[None]]:
    """What is done with each message: all of its effects, or none, and once."""

    async def make_sale(envelope: Envelope) -> None:
        async with engine.begin() as connection:
            if await claim(connection, envelope):
                await accept(connection, envelope)

    return make_sale


async def claim(connection: AsyncConnection, envelope: Envelope) -> bool:
    """Enter a message in the inbox; False if it was processed before."""
    key = {"consumer": QUEUE, "source": envelope.source, "id": envelope.id}
    row = {**key, "type": envelope.type, "payload_hash": envelope.payload_hash}
    if await connection.scalar(CLAIM, row) is not None:
        return True
    if await connection.scalar(SEEN, key) != envelope.payload_hash:
        log.warning("refused: message %r came before with other content", envelope.id)
        raise RejectMessage
    return False


async def accept(connection: AsyncConnection, envelope: Envelope) -> None:
    """Store a sale with everything that belongs to it, unless it is there already."""
    sale = envelope.sale
    row = {
        "id": sale.sale_id,
        "buyer_id": await buyer_of(connection, sale.buyer_email),
        "status": "booked",
        "currency": sale.currency,
        "total_cents": sale.total_cents,
        "made_at": sale.made_at,
    }
    if await connection.scalar(ADD_ORDER, row) is None:
        return
    await connection.execute(ADD_LINES, lines_of(sale))
    audit = {
        "id": uuid4(),
        "event_type": SALE_BOOKED,
        "payload": sale.model_dump(mode="json"),
    }
    await connection.execute(ADD_AUDIT, audit)
    booked = SaleBooked(sale_id=sale.sale_id, total_cents=sale.total_cents)
    event = {
        "message_id": uuid4(),
        "type": SALE_BOOKED,
        "body": booked.model_dump_json(),
        "extensions": {"correlationid": envelope.correlation_id},
    }
    await connection.execute(ADD_EVENT, event)


async def buyer_of(connection: AsyncConnection, email: str) -> UUID:
    """Get or create the buyer, whoever else does so at the same time."""
    known: UUID | None = await connection.scalar(KNOWN_BUYER, {"email": email})
    if known is None:
        known = await connection.scalar(ADD_BUYER, {"id": uuid4(), "email": email})
    if known is None:  # another transaction was faster, and has committed
        known = await connection.scalar(KNOWN_BUYER, {"email": email})
    assert known is not None
    return known


def lines_of(sale: SaleMade) -> list[dict[str, Any]]:
    """The rows of a sale's lines."""
    return [
        {"sale_id": sale.sale_id, "position": position, **line.model_dump()}
        for position, line in enumerate(sale.lines, start=1)
    ]


async def main(handler: Callable[[AsyncEngine], Callable[[Envelope], Awaitable[None]]]) -> None:
    """Consume until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING)
    prefetch = int(os.environ["PREFETCH"])
    engine = create_async_engine(
        make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"),
        pool_size=min(prefetch, MOST_CONNECTIONS),
        max_overflow=0,
    )
    broker = RabbitBroker(
        os.environ["BROKER_URL"],
        default_channel=Channel(prefetch_count=prefetch),
        graceful_timeout=GRACE,
        logger=log,
        log_level=logging.DEBUG,  # of the two lines about each message; errors are still logged
    )
    subscriber = broker.subscriber(
        RabbitQueue(QUEUE, declare=False), ack_policy=AckPolicy.NACK_ON_ERROR, decoder=decode
    )
    subscriber(handler(engine))
    app = FastStream(broker, logger=None)
    app.after_startup(lambda: print("ready", flush=True))
    try:
        await app.run()
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(handler))
