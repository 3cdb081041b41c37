"""What stops the work for a while: kills, ended sessions, lost logins and rights; and when."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from acme_orders.chassis.database.access import SERVICE_ROLE

from tests.chassis.attack.login import Login
from tests.chassis.conftest import eventually
from tests.chassis.faults.fleet import Member
from tests.chassis.faults.site import Site
from tests.chassis.service import SERVICE

_ROLES = [SERVICE_ROLE]
_ROLES.append("acme_orders_system")  # feature: rls
_TABLES = ("inbox", "outbox", "sales", "buyers", "sale_lines", "journal", "dead_letters")
_PATIENCE = 120.0  # seconds for the start of a process, beside all that goes on
_SESSIONS = f"FROM pg_stat_activity WHERE application_name = '{SERVICE.name}'"
_HERE = "AND datname = current_database()"


@dataclass(frozen=True, slots=True)
class Cause:
    """One that is over; times of `time.monotonic()`."""

    name: str
    began: float
    ended: float


@dataclass
class Causes:
    """Produces one after the other, with a calm between them.

    Args:
        site: of the database.
        members: processes, each supervised.
        login: to the broker.
        choice: of what comes next.
        calm: seconds between two causes; what takes longer after one is not seen.
    """

    site: Site
    members: Sequence[Member]
    login: Login
    choice: random.Random
    calm: float
    over: list[Cause] = field(default_factory=list)

    async def go_on(self, until: float) -> None:
        """Produce causes until the time has come; each is over when this returns."""
        due: list[Callable[[], Awaitable[None]]] = []
        while time.monotonic() + self.calm < until:
            due = due or self.choice.sample(self._all, len(self._all))
            await due.pop()()
            await asyncio.sleep(self.calm)

    @property
    def _all(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.process_killed,
            self.processes_killed,
            self.sessions_ended,
            self.login_taken,
            self.rights_revoked,
        ]

    async def process_killed(self) -> None:
        """SIGKILL; the others go on at once, so it is over at once."""
        member = self.choice.choice(self.members)
        before = len(member.statuses)
        async with self._cause(self.process_killed.__name__):
            member.send_signal(signal.SIGKILL)
        await self._another(member, before)

    async def processes_killed(self) -> None:
        """SIGKILL to all of them; over when one is there again."""
        others = [
            asyncio.ensure_future(self._another(each, len(each.statuses))) for each in self.members
        ]
        async with self._cause(self.processes_killed.__name__):
            for member in self.members:
                member.send_signal(signal.SIGKILL)
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*others)

    async def sessions_ended(self) -> None:
        """An administrator of PostgreSQL ends all sessions, again and again."""
        async with self._cause(self.sessions_ended.__name__):
            for _ in range(5):
                await self.site.rows(f"SELECT pg_terminate_backend(pid) {_SESSIONS} {_HERE}")
                await asyncio.sleep(0.2)

    async def login_taken(self) -> None:
        """RabbitMQ closes all connections, and lets nobody in."""
        async with self._cause(self.login_taken.__name__):
            await self.login.take_away()
            await self._lasting()
            await self.login.give()

    async def rights_revoked(self) -> None:
        """A table may not be used; PostgreSQL answers, and refuses."""
        table, roles = self.choice.choice(_TABLES), ", ".join(_ROLES)
        async with self._cause(f"{self.rights_revoked.__name__}: {table}"):
            await self.site.rows(f"REVOKE ALL ON {table} FROM {roles}")
            await self._lasting()
            rights = "SELECT, INSERT, UPDATE, DELETE"
            await self.site.rows(f"GRANT {rights} ON {table} TO {roles}")

    @asynccontextmanager
    async def _cause(self, name: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self.over.append(Cause(name, began, time.monotonic()))

    async def _lasting(self) -> None:
        await asyncio.sleep(self.choice.uniform(0.5, 4))

    async def _another(self, member: Member, killed: int) -> None:
        """Wait until a process that had so many predecessors has a successor that is ready."""
        await eventually(lambda: len(member.statuses) > killed, within=_PATIENCE)
        await member.ready(within=_PATIENCE)
