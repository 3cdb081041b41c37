"""Messages that are sent while a deploy goes on, and what has come of them."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aio_pika

from readiness.scratch import rows_of

_PAUSE = 0.02  # seconds between two messages: about 40 a second


@dataclass
class Load:
    """The messages of a rehearsal.

    Args:
        database_url: where their effects are.
        broker_url: where they are sent to.
        sent: ids of the messages that RabbitMQ has confirmed.
    """

    database_url: str
    broker_url: str
    sent: set[str] = field(default_factory=set)

    async def listen(self, exchange: str) -> None:
        """Let somebody hear every event: what nobody hears is not published."""
        async with (
            await aio_pika.connect(self.broker_url) as connection,
            connection.channel() as channel,
        ):
            listener = await channel.declare_queue("deploy-rehearsal.listener", durable=True)
            await listener.bind(exchange, "#")

    async def run(self, queue: str, messages: Sequence[Mapping[str, Any]]) -> None:
        """Send messages one after the other, until it is cancelled or there are no more."""
        async with (
            await aio_pika.connect(self.broker_url) as connection,
            connection.channel() as channel,
        ):
            for each in messages:
                message = aio_pika.Message(
                    base64.b64decode(each["body"]),
                    message_id=each["id"],
                    type=each["type"],
                    app_id=each["source"],
                    headers=each["headers"],
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                )
                await channel.default_exchange.publish(message, routing_key=queue)
                self.sent.add(each["id"])
                await asyncio.sleep(_PAUSE)

    async def missing(self) -> set[str]:
        """Messages that are neither processed nor dead letters."""
        found = await self._rows(
            "SELECT id FROM inbox UNION ALL SELECT message_id FROM dead_letters"
        )
        return self.sent - {identity for (identity,) in found}

    async def dead(self) -> list[tuple[str, str, str]]:
        """Messages that became dead letters: how many, of which type, and why."""
        rows = await self._rows(
            "SELECT count(*)::text, type, concat_ws(': ', error_type, error_message, reason) "
            "FROM dead_letters GROUP BY 2, 3 ORDER BY 1 DESC LIMIT 10"
        )
        return [(str(count), str(type_), str(why)) for count, type_, why in rows]

    async def unpublished(self) -> int:
        """Events that wait in the outbox."""
        ((waiting,),) = await self._rows("SELECT count(*) FROM outbox")
        return int(waiting)

    async def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(rows_of, self.database_url, sql)
