"""What it costs a consumer that its inbox forgets: `python -m benchmarks.forgetting`.

Without and with deleting, in turns, so that a slow moment of the machine hits both; then until all
rows of an inbox have been replaced several times, to see whether it grows. Where others use the
machine as well, rates say little: compare the CPU that a message takes.
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from statistics import median
from typing import Any, NamedTuple

import psutil

from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.runner import Runner

from benchmarks.drain import BULK, DONE
from benchmarks.messages import fill, sales
from benchmarks.process import assembled, started
from benchmarks.servers import Servers, servers
from dev.command import ends_with_the_block
from readiness.scratch import session
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import eventually
from tests.chassis.service import SERVICE

_TURN = 4.0  # seconds
_FASTEST = 8000  # messages in a second, for which the queue has enough
_WINDOW = 50_000  # rows of the inbox that stays as large as it is
_POLICY = Retention("inbox", "processed_at", timedelta(seconds=1))
_PLANT = """
INSERT INTO inbox (
    tenant_id,  -- feature: row, rls
    consumer, source, id, type, payload_hash, processed_at
) SELECT
    %(tenant)s,  -- feature: row, rls
    %(consumer)s, 'past', md5('i' || n)::uuid::text, 'sale.made', sha256(n::text::bytea),
    now() - interval '30 days' + n / 100 * interval '20 ms'
FROM generate_series(1, %(rows)s) n
"""
_SIZE = """
SELECT pg_table_size(relid), pg_indexes_size(relid), autovacuum_count FROM pg_stat_all_tables
WHERE relid = 'inbox'::regclass
"""


class Inbox:
    """One that a consumer fills, and from which the oldest rows go when they are told to.

    Args:
        cursor: of its database.
        url: likewise.
    """

    def __init__(self, cursor: Any, url: str) -> None:
        self._cursor, self.deleted = cursor, 0
        runner = Runner(url, [_POLICY])
        self.steps = (step.rows for _ in itertools.count() for step in runner.run(anyway=True))

    def entered(self) -> int:
        """How many messages were processed so far."""
        self._cursor.execute(DONE)
        return int(self._cursor.fetchone()[0])

    def size(self) -> tuple[int, int, int]:
        """Bytes of the table and of its indexes, and vacuums so far."""
        self._cursor.execute(_SIZE)
        found: tuple[int, int, int] = self._cursor.fetchone()
        return found

    def turn(self, seconds: float, *, forget: float) -> "Turn":
        """Let the consumer work for so long.

        Args:
            seconds: until it stops, between two portions.
            forget: how many rows to delete for each that comes.
        """
        began, entered, deleted, cpu = time.monotonic(), self.entered(), self.deleted, _cpu()
        while (passed := time.monotonic() - began) < seconds:
            if self.deleted - deleted < forget * (self.entered() - entered):
                self.deleted += next(self.steps)
            else:
                time.sleep(0.02)
        messages = self.entered() - entered
        return Turn(
            messages / passed, (self.deleted - deleted) / passed, (_cpu() - cpu) / messages * 1e6
        )


class Turn(NamedTuple):
    """Messages and deleted rows in a second, and microseconds of CPU for each message."""

    messages: float
    deleted: float
    cpu: float


@asynccontextmanager
async def inbox(servers: Servers, *, rows: int, messages: int, seed: int) -> AsyncIterator[Inbox]:
    """Start a consumer with so many messages in its queue, and so many old rows in its inbox."""
    with servers.site() as environment, session(environment["DATABASE_URL"]) as cursor:
        async with assembled(environment):
            pass
        values = {"rows": rows, "consumer": SERVICE.name}
        values["tenant"] = str(TENANT)  # feature: row, rls, schema
        for statement in (_PLANT, "VACUUM ANALYZE inbox", "CHECKPOINT"):
            cursor.execute(statement, values if statement == _PLANT else None)
        await fill(environment["BROKER_URL"], SERVICE.name, sales(messages, seed=seed))
        async with started(BULK, environment):
            found = Inbox(cursor, environment["DATABASE_URL"])
            await eventually(found.entered)
            try:
                yield found
            finally:
                found.steps.close()
            if found.entered() >= messages:
                raise RuntimeError(f"{messages} messages were too few: the consumer was idle")


async def forgetting(
    servers: Servers,
    *,
    rounds: int,
    seconds: float,
    seed: int,
    fastest: int = _FASTEST,
    times: float = 1.0,
) -> AsyncIterator[tuple[str, str]]:
    """Measure both; what and how much. Afterwards vacuum looks every five seconds."""
    turns: dict[bool, list[Turn]] = {False: [], True: []}
    enough = round(fastest * (2 * rounds + 1) * _TURN)
    async with inbox(servers, rows=round(enough * times), messages=enough, seed=seed) as one:
        for number in range(2 * rounds):
            forget = number % 4 in {1, 2}
            turn = await asyncio.to_thread(one.turn, _TURN, forget=times if forget else 0)
            turns[forget].append(turn)
    told = "a consumer beside an inbox that forgets, and beside a quiet one"
    yield told, "; ".join(_line(*turns.values()))
    # What takes weeks elsewhere takes a minute here.
    servers.postgres.ask("ALTER SYSTEM SET autovacuum_naptime = '5s'")
    servers.postgres.ask("SELECT pg_reload_conf()")
    enough = round(fastest * seconds)
    async with inbox(servers, rows=_WINDOW, messages=enough, seed=seed) as one:
        for _ in range(5):
            await asyncio.to_thread(one.turn, seconds / 5, forget=1)
            table, indexes, vacuums = one.size()
            line = f"{table / 2**20:.1f}, {indexes / 2**20:.1f} MiB, {vacuums} vacuums"
            yield f"the inbox, {one.deleted / _WINDOW:.1f} times replaced: table, indexes", line


def _line(quiet: list[Turn], beside: list[Turn]) -> Iterator[str]:
    one, other = (Turn(*map(median, zip(*turns, strict=True))) for turns in (beside, quiet))
    pairs = list(zip(beside, quiet, strict=True))
    rate = _spread(some.messages / alone.messages for some, alone in pairs)
    cpu = _spread(alone.cpu / some.cpu for some, alone in pairs)
    yield f"{one.messages:,.0f} and {other.messages:,.0f} messages/s, ratio {rate}"
    yield f"{one.deleted:,.0f} rows/s deleted"
    yield f"{one.cpu:,.0f} and {other.cpu:,.0f} µs CPU for a message and its row, ratio {cpu}"


def _spread(ratios: Iterable[float]) -> str:
    least, *_, most = found = sorted(ratios)
    return f"{median(found):.2f} ({least:.2f} to {most:.2f})"


def _cpu() -> float:
    """Seconds of this process and all that it has started, servers and those that ended as well."""
    here, seconds = psutil.Process(), 0.0
    for each in (here, *here.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            # User and system, of itself and of what it awaited.
            seconds += sum(each.cpu_times()[:4])
    return seconds


async def main() -> None:
    """Measure this alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forgetting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="to see whether it grows")
    parser.add_argument("--fastest", type=int, default=_FASTEST, help="messages/s there may be")
    parser.add_argument("--times", type=float, default=1, help="rows to delete for each that comes")
    parser.add_argument("--seed", type=int, default=1)
    with ends_with_the_block(), servers() as running:
        async for what, line in forgetting(running, **vars(parser.parse_args())):
            sys.stdout.write(f"{what}: {line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
