"""The usual way with the ORM: objects instead of statements, all else as in its neighbour."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

from faststream.exceptions import RejectMessage
from faststream_sqlalchemy import (
    ADD_BUYER,
    CLAIM,
    KNOWN_BUYER,
    SEEN,
    journal,
    lines_of,
    log,
    main,
    outbox,
    sale_lines,
    sales,
)
from sales import QUEUE, SALE_BOOKED, Envelope, SaleBooked
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, relationship


class Base(DeclarativeBase):
    """The base of the models; their tables are those of the neighbour."""


class Line(Base):
    """One article of a sale."""

    __table__ = sale_lines


class Sale(Base):
    """A booked sale."""

    __table__ = sales
    lines: Mapped[list[Line]] = relationship()


class JournalEntry(Base):
    """Something that happened."""

    __table__ = journal


class Event(Base):
    """An event to be published."""

    __table__ = outbox


def handler(engine: AsyncEngine) -> Callable[[Envelope], Awaitable[None]]:
    """What is done with each message: all of its effects, or none, and once."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def make_sale(envelope: Envelope) -> None:
        async with sessions.begin() as session:
            if await claim(session, envelope):
                await accept(session, envelope)

    return make_sale


async def claim(session: AsyncSession, envelope: Envelope) -> bool:
    """Enter a message in the inbox; False if it was processed before."""
    key = {"consumer": QUEUE, "source": envelope.source, "id": envelope.id}
    row = {**key, "type": envelope.type, "payload_hash": envelope.payload_hash}
    if await session.scalar(CLAIM, row) is not None:
        return True
    if await session.scalar(SEEN, key) != envelope.payload_hash:
        log.warning("refused: message %r came before with other content", envelope.id)
        raise RejectMessage
    return False


async def accept(session: AsyncSession, envelope: Envelope) -> None:
    """Store a sale with everything that belongs to it, unless it is there already."""
    sale = envelope.sale
    if await session.get(Sale, sale.sale_id) is not None:
        return
    email = {"email": sale.buyer_email}
    buyer = await session.scalar(KNOWN_BUYER, email)
    if buyer is None:
        buyer = await session.scalar(ADD_BUYER, {"id": uuid4(), **email})
    if buyer is None:  # another transaction was faster, and has committed
        buyer = await session.scalar(KNOWN_BUYER, email)
    booked = SaleBooked(sale_id=sale.sale_id, total_cents=sale.total_cents)
    session.add_all(
        [
            Sale(
                id=sale.sale_id,
                buyer_id=buyer,
                status="booked",
                currency=sale.currency,
                total_cents=sale.total_cents,
                made_at=sale.made_at,
                lines=[Line(**row) for row in lines_of(sale)],
            ),
            JournalEntry(id=uuid4(), event_type=SALE_BOOKED, payload=sale.model_dump(mode="json")),
            Event(
                message_id=uuid4(),
                type=SALE_BOOKED,
                body=booked.model_dump_json(),
                extensions={"correlationid": envelope.correlation_id},
            ),
        ]
    )


if __name__ == "__main__":
    asyncio.run(main(handler))
