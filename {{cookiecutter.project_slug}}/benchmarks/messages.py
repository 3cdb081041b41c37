"""The sales that every contender gets: the same ones for the same seed."""

import asyncio
import itertools
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
from pamqp import commands as spec

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import encode

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.slices.sales.messages import SALE_MADE, SaleMade

BUYERS = 500
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_IN_FLIGHT = 500  # publishes without a confirm


def sales(count: int, *, seed: int, ordered: bool = False) -> Iterator[Message]:
    """Sales of one to three lines, as a client that knows nothing of the service sends them.

    Args:
        count: of sales.
        seed: of everything.
        ordered: whether ids are in the order of time, as those of our own services are.
    """
    chance = random.Random(seed)
    for number in range(count):
        time = seed * count + number << 80 if ordered else 0
        sale = SaleMade.model_validate(
            {
                "sale_id": _id(chance, time),
                "buyer_email": f"buyer-{chance.randrange(BUYERS)}@example.com",
                "currency": "EUR",
                "lines": [
                    {
                        "sku": f"TEA-{chance.randrange(1000)}",
                        "quantity": chance.randint(1, 9),
                        "unit_price_cents": chance.randint(100, 10_000),
                    }
                    for _ in range(chance.randint(1, 3))
                ],
                "made_at": _BEGAN + timedelta(seconds=number),
            }
        )
        yield encode(
            str(_id(chance, time)),
            SALE_MADE,
            "bench",
            datetime.now(UTC),
            sale.model_dump_json().encode(),
            extensions={"tenant": str(TENANT)},  # feature: row, rls, schema
        )


def _id(chance: random.Random, time: int) -> UUID:
    return UUID(int=time | chance.getrandbits(80 if time else 128), version=4)


async def fill(broker_url: str, queue: str, messages: Iterable[Message]) -> None:
    """Put messages into a queue; on return all are confirmed."""
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as opened:
        channel: Any = await opened.get_underlay_channel()  # its base class knows no `wait`
        for some in batched(messages, _IN_FLIGHT):
            await asyncio.gather(
                *(
                    channel.basic_publish(
                        each.body, routing_key=queue, properties=_properties(each), wait=False
                    )
                    for each in some
                )
            )


def batched(messages: Iterable[Message], size: int) -> Iterator[list[Message]]:
    """Lists of at most so many."""
    source = iter(messages)
    while some := list(itertools.islice(source, size)):
        yield some


def _properties(message: Message) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=message.content_type,
        delivery_mode=2,
        headers=dict(message.headers),
        message_id=message.message_id,
        message_type=message.type,
        app_id=message.app_id,
        timestamp=message.timestamp,
    )
