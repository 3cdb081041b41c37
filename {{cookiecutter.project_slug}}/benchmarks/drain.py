"""How fast a process drains a full queue, and what that costs it."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from acme_orders.app import SERVICE, connected
from acme_orders.observability.metrics import Metrics
from acme_orders.readiness.scratch import session
from acme_orders.settings import load_settings

from benchmarks.messages import fill, orders
from benchmarks.servers import Servers

_LOOK = 0.05  # seconds between two looks; each costs PostgreSQL a read of one row
_PATIENCE = 30.0  # seconds without any progress
# Each message leaves one event, and their last number costs nothing to read.
_EVENTS = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM outbox_id_seq"


@dataclass(frozen=True)
class Contender:
    """A process that takes orders from the queue, until SIGTERM.

    Args:
        name: in the table.
        command: that starts it.
        folder: where.
        environment: beside DATABASE_URL and BROKER_URL.
    """

    name: str
    command: Sequence[str]
    folder: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drained:
    """What one round showed.

    Args:
        messages: that were processed in the time that counts.
        seconds: that count; the start of the process does not.
        cpu: seconds of the process alone, without the servers.
        memory: bytes at most, of the process.
    """

    messages: int
    seconds: float
    cpu: float
    memory: int

    @property
    def rate(self) -> float:
        """Messages in a second."""
        return self.messages / self.seconds

    @property
    def cpu_per_message(self) -> float:
        """Microseconds."""
        return self.cpu / self.messages * 1e6


SINGLE = Contender("handler of one", [sys.executable, "-m", "benchmarks.service", "--one-by-one"])
BULK = Contender("handler of many", [sys.executable, "-m", "benchmarks.service"])


async def drain(
    contender: Contender, servers: Servers, *, messages: int, seconds: float, seed: int
) -> Drained:
    """Fill a queue, start the contender, and watch it until the queue is empty or time is over."""
    with servers.site() as environment:
        await prepare(environment)
        await fill(environment["BROKER_URL"], SERVICE, orders(messages, seed=seed))
        with TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                *contender.command,
                cwd=contender.folder,
                env={**os.environ, **environment, **contender.environment},
                stdout=output,
                stderr=output,
            )
            try:
                return await _watch(process.pid, environment["DATABASE_URL"], messages, seconds)
            except Exception:
                output.seek(0)
                sys.stderr.write(output.read().decode())
                raise
            finally:
                process.terminate()
                await process.wait()


async def prepare(environment: Mapping[str, str]) -> None:
    """Declare the queues, as the service does."""
    overrides = {name.lower(): value for name, value in environment.items()}
    async with connected(load_settings(_env_file=None, **overrides), Metrics()):
        pass


async def _watch(pid: int, database_url: str, messages: int, seconds: float) -> Drained:
    process, memory = psutil.Process(pid), 0
    first: tuple[int, float, float] | None = None  # messages, time, CPU
    done, moved = 0, time.monotonic()
    with session(database_url) as cursor:
        while True:
            await asyncio.sleep(_LOOK)
            cursor.execute(_EVENTS)
            ((found,),) = cursor.fetchall()
            now, times = time.monotonic(), process.cpu_times()
            cpu, memory = times.user + times.system, max(memory, process.memory_info().rss)
            if found > done:
                done, moved = found, now
            elif now - moved > _PATIENCE:
                raise TimeoutError(f"{done} of {messages} messages, and nothing more happens")
            if first is None:
                first = (done, now, cpu) if done else None
            elif done >= messages or now - first[1] >= seconds:
                return Drained(done - first[0], now - first[1], cpu - first[2], memory)
