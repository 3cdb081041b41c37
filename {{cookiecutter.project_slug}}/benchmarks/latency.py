"""How long a message takes when nothing else is going on: published, committed, acknowledged."""

import asyncio
import random
import time
from collections.abc import Sequence

from acme_orders.chassis.messaging.broker import Delivery
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE

from benchmarks.messages import sales
from benchmarks.process import assembled
from benchmarks.servers import Servers
from tests.chassis.service import SERVICE

_WARM_UP = 50  # messages
_PAUSE = (0.005, 0.02)  # seconds between two messages; by chance, so that no rhythm fits


async def latencies(servers: Servers, *, messages: int, seed: int) -> list[float]:
    """Seconds from the beginning of the publish until the ack was written, for each message."""
    found, acked = [], asyncio.Event()
    with servers.site() as environment:
        async with assembled(environment) as service:
            acknowledge = service.broker.ack

            async def ack(deliveries: Sequence[Delivery]) -> set[Delivery]:
                lost = await acknowledge(deliveries)
                acked.set()
                return lost

            vars(service.broker)["ack"] = ack
            stop, chance = asyncio.Event(), random.Random(seed)
            async with asyncio.TaskGroup() as group:
                group.create_task(service.consumer.run(stop))
                for message in sales(_WARM_UP + messages, seed=seed):
                    acked.clear()
                    began = time.perf_counter()
                    await service.broker.publish(
                        message, exchange=DEFAULT_EXCHANGE, routing_key=SERVICE.name
                    )
                    await acked.wait()
                    found.append(time.perf_counter() - began)
                    await asyncio.sleep(chance.uniform(*_PAUSE))
                stop.set()
    return found[_WARM_UP:]
