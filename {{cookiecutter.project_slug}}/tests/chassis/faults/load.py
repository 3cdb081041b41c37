"""Sales, published as a client that knows nothing of the service would."""

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import aio_pika
from aio_pika.exceptions import DeliveryError

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.rabbitmq.answers import OUTAGES, answered

from tests.chassis.conftest import sold
from tests.chassis.faults.site import Site
from tests.chassis.slices.sales.messages import SALE_MADE

End = Literal["effect", "dead letter", "either"]
_BUYERS = 50
_IN_FLIGHT = 20
_OUTAGES = (BrokerUnavailable, *OUTAGES)


@dataclass(frozen=True)
class Sent:
    """A message of ours, and what should become of it."""

    id: str
    sale: str
    expected: End
    message: Message


class Load:
    """A client that publishes and waits for confirms.

    What it cannot get confirmed it publishes again under the same id, for `patience` seconds.

    Args:
        site: where to.
        seed: of all ids and choices.
        patience: seconds for one message.
        timed: messages say when they were sent, and copies say the same.
    """

    def __init__(self, site: Site, *, seed: int, patience: float = 60, timed: bool = False) -> None:
        self.attempted: dict[str, Sent] = {}
        self.acknowledged: set[str] = set()
        self.confirmed: dict[str, float] = {}  # sales, and when; of `time.monotonic()`
        self.copies = 0  # published once more: on purpose, or because the confirm was missing
        self._site, self._patience, self._timed = site, patience, timed
        self._random = random.Random(seed)
        self._channel: aio_pika.abc.AbstractChannel | None = None
        self._stack = contextlib.AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._window = asyncio.Semaphore(_IN_FLIGHT)

    async def send(
        self,
        count: int,
        *,
        fate: str = "",
        expected: End = "effect",
        duplicates: int = 0,
        rate: float | None = None,
    ) -> list[Sent]:
        """Publish so many new sales; returns when each is confirmed or given up.

        Args:
            count: of sales.
            fate: what the handler does with them, such as `slow-3`; see `child.FATES`.
            expected: where they should end.
            duplicates: how many of them are published a second time, somewhere in between.
            rate: sales in a second; None: as quickly as it goes.
        """
        sales = [self._order(fate, expected) for _ in range(count)]
        publishing = [*sales, *self._random.sample(sales, duplicates)]
        self._random.shuffle(publishing)
        async with asyncio.TaskGroup() as group:
            for sent in publishing:
                group.create_task(self.publish(sent))
                if rate is not None:
                    await asyncio.sleep(1 / rate)
        return sales

    async def publish(self, sent: Sent) -> bool:
        """Publish a message, until it is confirmed; whether it was."""
        self.copies += sent.id in self.attempted
        first = self.attempted.setdefault(sent.id, self._now(sent))
        if sent.message.body == first.message.body:  # a copy has the time of the first
            sent = first
        until = time.monotonic() + self._patience
        async with self._window:
            while True:
                try:
                    await self._try(sent.message)
                except _OUTAGES:
                    if time.monotonic() > until:
                        return False
                    self.copies += 1
                    await asyncio.sleep(0.2)
                else:
                    self.acknowledged.add(sent.id)
                    self.confirmed.setdefault(sent.sale, time.monotonic())
                    return True

    async def close(self) -> None:
        """Close the connection."""
        self._channel = None
        with contextlib.suppress(*_OUTAGES):
            await self._stack.aclose()

    def changed(self, sent: Sent, body: bytes) -> Sent:
        """The same id with another body: publish it with `publish`."""
        return replace(sent, message=replace(sent.message, body=body))

    def _order(self, fate: str, expected: End) -> Sent:
        buyer = f"{fate or 'buyer'}+{self._random.randrange(_BUYERS)}@example.com"
        sale, identity = self._uuid(), self._uuid()
        message = replace(sold(sale_id=sale, buyer_email=buyer), message_id=identity)
        return Sent(identity, sale, expected, message)

    def _now(self, sent: Sent) -> Sent:
        if not self._timed:
            return sent
        time = {"cloudEvents:time": datetime.now(UTC).isoformat()}
        return replace(
            sent, message=replace(sent.message, headers={**sent.message.headers, **time})
        )

    def _uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    async def _try(self, message: Message) -> None:
        async with self._connecting:
            if self._channel is None or self._channel.is_closed:
                await self.close()
                self._stack = contextlib.AsyncExitStack()
                self._channel = await self._stack.enter_async_context(self._site.channel())
            channel = self._channel
        exchange = await channel.get_exchange(self._site.topology.exchange, ensure=False)
        outgoing = aio_pika.Message(
            message.body,
            message_id=message.message_id,
            type=message.type,
            app_id=message.app_id,
            headers=dict(message.headers),
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        with answered("no confirm"):
            try:
                await exchange.publish(outgoing, SALE_MADE, mandatory=True, timeout=10)
            except DeliveryError:
                if self._channel is channel:  # a channel that was refused once may be for ever
                    self._channel = None
                raise
