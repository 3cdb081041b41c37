"""The usual way with the ORM: objects instead of statements, all else as in its neighbour."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

from faststream.exceptions import RejectMessage
from faststream_sqlalchemy import (
    ADD_CUSTOMER,
    CLAIM,
    KNOWN_CUSTOMER,
    SEEN,
    audit_log,
    lines_of,
    log,
    main,
    order_lines,
    orders,
    outbox,
)
from orders import ORDER_ACCEPTED, QUEUE, Envelope, OrderAccepted
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, relationship


class Base(DeclarativeBase):
    """The base of the models; their tables are those of the neighbour."""


class Line(Base):
    """One article of an order."""

    __table__ = order_lines


class Order(Base):
    """An accepted order."""

    __table__ = orders
    lines: Mapped[list[Line]] = relationship()


class AuditEntry(Base):
    """Something that happened."""

    __table__ = audit_log


class Event(Base):
    """An event to be published."""

    __table__ = outbox


def handler(engine: AsyncEngine) -> Callable[[Envelope], Awaitable[None]]:
    """What is done with each message: all of its effects, or none, and once."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def place_order(envelope: Envelope) -> None:
        async with sessions.begin() as session:
            if await claim(session, envelope):
                await accept(session, envelope)

    return place_order


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
    """Store an order with everything that belongs to it, unless it is there already."""
    order = envelope.order
    if await session.get(Order, order.order_id) is not None:
        return
    email = {"email": order.customer_email}
    customer = await session.scalar(KNOWN_CUSTOMER, email)
    if customer is None:
        customer = await session.scalar(ADD_CUSTOMER, {"id": uuid4(), **email})
    if customer is None:  # another transaction was faster, and has committed
        customer = await session.scalar(KNOWN_CUSTOMER, email)
    accepted = OrderAccepted(order_id=order.order_id, total_cents=order.total_cents)
    session.add_all(
        [
            Order(
                id=order.order_id,
                customer_id=customer,
                status="accepted",
                currency=order.currency,
                total_cents=order.total_cents,
                placed_at=order.placed_at,
                lines=[Line(**row) for row in lines_of(order)],
            ),
            AuditEntry(
                id=uuid4(), event_type=ORDER_ACCEPTED, payload=order.model_dump(mode="json")
            ),
            Event(
                message_id=uuid4(),
                type=ORDER_ACCEPTED,
                body=accepted.model_dump_json(),
                extensions={"correlationid": envelope.correlation_id},
            ),
        ]
    )


if __name__ == "__main__":
    asyncio.run(main(handler))
