"""How many of our functions a message passes: whoever reads its way has to read so many."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import acme_orders
from acme_orders.chassis.messaging.topology import Queue
from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, consuming, eventually, send, settled, sold

OURS = acme_orders.__path__[0]
MOST = {"database": 84, "messaging": 50, "rabbitmq": 14, "tenancy": 15}  # and a few elsewhere
MOST |= {"observability": 9}  # feature: tracing


@contextmanager
def passed() -> Iterator[set[CodeType]]:
    """The functions with a name that this thread enters inside the block."""
    found: set[CodeType] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and code.co_name[0] != "<":
            found.add(code)

    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def process_one(service: Service) -> None:
    """From the broker to the acknowledgement."""
    before = settled(service, "done")
    await send(service, sold())
    await eventually(lambda: settled(service, "done") == before + 1)


async def test_the_way_of_a_message_is_short(connect: Connect, broker_url: str) -> None:
    """When all is imported and compiled, without what runs anyway and what sends it."""
    async with connect(broker_url=broker_url) as service, consuming(service):
        await service.broker.declare("events", [Queue("nobody")])
        await process_one(service)
        with passed() as others:
            await asyncio.sleep(1)
            await service.broker.publish(sold(), exchange="", routing_key="nobody")
        with passed() as all_of_them:
            await process_one(service)
    way = [Path(code.co_filename).relative_to(OURS) / code.co_name for code in all_of_them - others]
    rooms = Counter(each.parts[1] for each in way)
    found = {room: rooms[room] for room in rooms if rooms[room] > MOST.get(room, 3)}
    assert not found, "\n".join([f"{len(way)} functions: {rooms}", *map(str, sorted(way))])
