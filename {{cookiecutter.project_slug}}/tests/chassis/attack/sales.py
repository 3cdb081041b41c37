"""Good sales: when each was accepted, and when the service announced that it has it."""

import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aio_pika

from tests.chassis.faults.load import Load
from tests.chassis.faults.site import LISTENER, Site
from tests.chassis.service import SERVICE

PERSON = "Zq7-wendeltraud"  # in the address of every buyer; no output of a process has it
TWICE = 0.05  # of them are published a second time


@dataclass
class Sales:
    """What is known of them, by the id of the sale; times of `time.monotonic()`.

    Args:
        accepted: by RabbitMQ with a confirm, or by the API with 202.
        announced: when each event about it arrived, and with which id.
        tried: articles of sales for which the API gave no such answer, so nobody knows.
    """

    accepted: dict[str, float] = field(default_factory=dict)
    announced: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    tried: set[str] = field(default_factory=set)

    @property
    def waiting(self) -> set[str]:
        """Accepted, and not announced yet."""
        return self.accepted.keys() - self.announced.keys()

    async def publish(self, load: Load, count: int, *, seconds: float) -> None:
        """Publish so many at a steady rate; returns when all are confirmed."""
        twice = round(count * TWICE)
        rate = (count + twice) / seconds
        load.confirmed = self.accepted
        await load.send(count, fate=PERSON, duplicates=twice, rate=rate)

    @asynccontextmanager
    async def listening(self, site: Site) -> AsyncIterator[None]:
        """Take every event that is announced meanwhile."""

        async def hear(incoming: aio_pika.abc.AbstractIncomingMessage) -> None:
            sale = json.loads(incoming.body)["sale_id"]
            self.announced[sale].append((time.monotonic(), str(incoming.message_id)))
            assert incoming.app_id == SERVICE.name
            await incoming.ack()

        async with site.channel() as channel:
            await channel.set_qos(prefetch_count=200)
            queue = await channel.get_queue(LISTENER, ensure=False)
            await queue.consume(hear)
            yield
