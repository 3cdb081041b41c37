"""Messages as nobody should send them; and what must not come of them."""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chassis.conftest import sold
from tests.chassis.edge.forms import bodies
from tests.chassis.faults.garbage import deliveries
from tests.chassis.faults.site import Site
from tests.chassis.faults.wire import long, properties, short, table, wire
from tests.chassis.slices.sales.messages import SALE_MADE

MB = 1 << 20
_ENDLESS = 10**9
_SHARE = 0.1  # of all forms


@dataclass
class Messages:
    """What RabbitMQ has confirmed, by what has to become of it.

    Args:
        site: where to.
        seed: of everything.
        ends: sales by their end: those that have to take effect, and must not, and may.
        sent: how many.
    """

    site: Site
    seed: int
    ends: dict[str, set[str]] = field(
        default_factory=lambda: {"effect": set(), "dead letter": set(), "either": set()}
    )
    sent: int = 0

    async def garbage(self, *, rate: float, until: float) -> None:
        """Everything that can be wrong with a message, and some good ones between."""
        made = deliveries(_ENDLESS, seed=self.seed)
        async with wire(self.site.broker_url) as client:
            while time.monotonic() < until:
                some = [next(made) for _ in range(10)]
                for each in some:
                    await client.publish(
                        each.content, each.body, exchange="events", routing_key=SALE_MADE
                    )
                await client.confirmed()
                for each in some:
                    self.ends[each.end].add(each.sale)
                self.sent += len(some)
                await asyncio.sleep(len(some) / rate)

    async def large(self, bodies: Sequence[bytes], *, pause: float, until: float) -> None:
        """Of a megabyte each, one after the other."""
        headers = [
            (name.encode(), long(str(value).encode())) for name, value in sold().headers.items()
        ]
        fields = {
            "type": short(SALE_MADE.encode()),
            "app_id": short(b"attack"),
            "headers": table(headers),
        }
        made = itertools.cycle(bodies)
        async with wire(self.site.broker_url) as client:
            while time.monotonic() < until:
                body = next(made)
                content = properties(fields | {"message_id": short(b"large-%d" % self.sent)})
                await client.publish(content, body, exchange="events", routing_key=SALE_MADE)
                await client.confirmed()
                self.sent += 1
                await asyncio.sleep(pause)


def costly(seed: int) -> list[bytes]:
    """Bodies that cost most: some of all forms; to make them takes seconds."""
    chance = random.Random(seed)
    return [body for _, body in bodies(MB) if chance.random() < _SHARE]
