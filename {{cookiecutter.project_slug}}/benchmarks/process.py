"""A process under load: how much it does, and what that costs it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.service import Service

from readiness.scratch import session
from tests.chassis.service import SERVICE

_LOOK = 0.05  # seconds between two looks
_PATIENCE = 30.0  # seconds without any progress


@dataclass(frozen=True)
class Contender:
    """A process that works until SIGTERM.

    Args:
        name: in the table.
        command: that starts it.
        folder: where.
        environment: beside that of its site.
    """

    name: str
    command: Sequence[str]
    folder: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What one round showed; the start of the processes does not count.

    Args:
        messages: that were processed.
        seconds: in which.
        cpu: seconds of the processes alone, without the servers.
        memory: bytes at most, of all processes together.
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


@asynccontextmanager
async def started(contender: Contender, environment: Mapping[str, str]) -> AsyncIterator[int]:
    """Start a process, and stop it at the end; what it wrote is shown if something goes wrong."""
    with TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *contender.command,
            cwd=contender.folder,
            env={**os.environ, **environment, **contender.environment},
            stdout=output,
            stderr=output,
        )
        try:
            yield process.pid
        except Exception:
            output.seek(0)
            sys.stderr.write(output.read().decode())
            raise
        finally:
            process.terminate()
            await process.wait()


async def watch(
    pids: Sequence[int], database_url: str, done: str, *, messages: int, seconds: float
) -> Work:
    """Watch processes until all is done, or time is over.

    Args:
        pids: of the processes.
        database_url: where they work.
        done: SQL for how many messages they have done so far.
        messages: all of them.
        seconds: from the first one on.
    """
    processes, memory = [psutil.Process(pid) for pid in pids], 0
    first: tuple[int, float, float] | None = None  # messages, time, CPU
    last, moved = 0, time.monotonic()
    with session(database_url) as cursor:
        while True:
            await asyncio.sleep(_LOOK)
            cursor.execute(done)
            ((found,),) = cursor.fetchall()
            now, times = time.monotonic(), [each.cpu_times() for each in processes]
            cpu = sum(each.user + each.system for each in times)
            memory = max(memory, sum(each.memory_info().rss for each in processes))
            if found > last:
                last, moved = found, now
            elif now - moved > _PATIENCE:
                raise TimeoutError(f"{last} of {messages} messages, and nothing more happens")
            if first is None:
                first = (last, now, cpu) if last else None
            elif last >= messages or now - first[1] >= seconds:
                return Work(last - first[0], now - first[1], cpu - first[2], memory)


@asynccontextmanager
async def assembled(environment: Mapping[str, str]) -> AsyncIterator[Service]:
    """The service in this process, with its queues declared; nothing of it runs."""
    overrides = {name.lower(): value for name, value in environment.items()}
    async with connected(
        SERVICE, SERVICE.load_settings(_env_file=None, **overrides), Metrics()
    ) as service:
        yield service
