"""How fast processes drain a full queue."""

import sys
from contextlib import AsyncExitStack

from benchmarks.messages import fill, sales
from benchmarks.process import (
    Contender,
    Work,
    assembled,
    started,
    watch,
)
from benchmarks.servers import Servers
from tests.chassis.service import SERVICE

# Each message leaves one event, and their last number costs nothing to read.
DONE = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM outbox_id_seq"

SINGLE = Contender("handler of one", [sys.executable, "-m", "benchmarks.service", "--one-by-one"])
BULK = Contender("handler of many", [sys.executable, "-m", "benchmarks.service"])


async def drain(
    contender: Contender,
    servers: Servers,
    *,
    messages: int,
    seconds: float,
    seed: int,
    processes: int = 1,
) -> Work:
    """Fill a queue, start the contender, and watch it until the queue is empty or time is over."""
    with servers.site() as environment:
        async with assembled(environment):
            pass
        await fill(environment["BROKER_URL"], SERVICE.name, sales(messages, seed=seed))
        async with AsyncExitStack() as stack:
            pids = [
                await stack.enter_async_context(started(contender, environment))
                for _ in range(processes)
            ]
            database = environment["DATABASE_URL"]
            return await watch(pids, database, DONE, messages=messages, seconds=seconds)
