"""What a Prometheus sees while all fails: no series is missing, and no alert but those due."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from readiness.scratch import session
from tests.chassis.conftest import eventually
from tests.chassis.faults.prometheus import BACKFILL, Prometheus, expressions, prometheus
from tests.chassis.faults.site import Site

_EVERY = 5  # seconds between two scrapes
# What the faults and the messages of a soak are bound to bring, and why.
DUE = {
    "ConflictsExhausted": "somebody locks the inbox for longer than all attempts take",
    "ConnectionsExhausted": "PostgreSQL is away, again and again, for longer than anybody waits",
    "EventLoopBlocked": "a process that was stopped finds that its clock has jumped",
    "MessagesDeadLettered": "some messages are refused, and some are no JSON",
    "MessagesFailing": "some messages fail at first, and more than usual while servers are away",
    "MessagesSuspected": "they come back with each process and each connection that ends",
    "MostMessagesFail": "so they do while PostgreSQL is away",
}


class Seen:
    """By a server that is there from the calm before the faults until they are over.

    Args:
        server: it scrapes all processes; None where none is installed, and nothing is seen.
        first: port of the process that nobody kills.
    """

    def __init__(self, server: Prometheus | None, first: int) -> None:
        self._server = server
        self._up = f"min_over_time(up{{instance='127.0.0.1:{first}'}}[30s]) == 1"
        self._since = self._until = 0.0
        self._looks = 0  # at which the first process had been there for a while
        self._alerts: dict[str, int] = {}  # that fired, and at how many looks

    def __str__(self) -> str:
        if self._server is None:
            return "none is installed (Debian: apt-get install prometheus), so nothing is seen"
        return f"{len(expressions())} expressions, {self._looks} looks, fired {self._alerts}"

    async def begin(self, site: Site) -> None:
        """Wait until each expression has series; from now on it has to have them."""
        if (server := self._server) is None:
            return
        with session(site.database_url) as cursor:
            cursor.execute(BACKFILL)

        async def none() -> bool:
            return not await server.empty()

        with suppress(TimeoutError):  # those that never have some are named at the end
            await eventually(none, within=180)
        self._since = time.time()

    def end(self) -> None:
        """What comes later does not count; the processes may be stopped."""
        self._until = time.time()

    async def problems(self) -> list[str]:
        """Expressions without series while the first process was scraped, and alerts not due."""
        if self._server is None:
            return []
        looks = set[float]().union(*(await self._times(self._server, self._up)).values())
        self._looks = len(looks)
        found = [] if looks else ["Prometheus never reached the first process"]
        for expression in sorted(expressions()):
            times = await self._times(self._server, expression)
            if gaps := looks.difference(*times.values()):
                found.append(
                    f"no series at {len(gaps)} of {len(looks)} looks, first after "
                    f"{min(gaps) - self._since:.0f} s: {expression}"
                )
        fired = await self._times(self._server, "ALERTS{alertstate='firing'}")
        self._alerts = {name: len(times) for name, times in sorted(fired.items())}
        return found + [
            f"{name} fired after {min(times) - self._since:.0f} s, at {len(times)} looks"
            for name, times in sorted(fired.items())
            if name not in DUE
        ]

    async def _times(self, server: Prometheus, expression: str) -> dict[str, set[float]]:
        return await server.times(expression, self._since, self._until)


@contextmanager
def watching(folder: Path, ports: Sequence[int]) -> Iterator[Seen]:
    """What a Prometheus sees, if there is one; the first port is of the one that nobody kills."""
    if shutil.which("prometheus") is None:
        yield Seen(None, ports[0])
        return
    with prometheus(folder, *ports, every=_EVERY) as server:
        yield Seen(server, ports[0])
