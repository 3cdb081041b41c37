"""How much memory a process holds while a very long queue waits."""

import asyncio
from dataclasses import dataclass

import psutil

from benchmarks.drain import BULK
from benchmarks.messages import fill, sales
from benchmarks.process import assembled, started
from benchmarks.servers import Servers
from tests.chassis.service import SERVICE

_SETTLED = 0.2  # of the time; until then a process allocates what it will always need


@dataclass(frozen=True)
class Memory:
    """Bytes: when the process has settled, at the end, and at most."""

    settled: int
    end: int
    most: int


async def backlog(servers: Servers, *, messages: int, seconds: float, seed: int) -> Memory:
    """Fill a queue, and watch the memory of a process that works on it."""
    with servers.site() as environment:
        async with assembled(environment):
            pass
        await fill(environment["BROKER_URL"], SERVICE.name, sales(messages, seed=seed))
        async with started(BULK, environment) as pid:
            process, seen = psutil.Process(pid), []
            for _ in range(round(seconds)):
                await asyncio.sleep(1)
                seen.append(process.memory_info().rss)
    return Memory(seen[round(_SETTLED * len(seen))], seen[-1], max(seen))
