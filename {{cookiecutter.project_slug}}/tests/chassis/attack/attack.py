"""All attacks at once beside good sales, and then an account of it."""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.ports import free_ports
from dev.virtual_hosts import VirtualHosts
from tests.chassis.attack import outbox
from tests.chassis.attack.causes import Causes
from tests.chassis.attack.clients import CUT, REFUSALS, Clients  # feature: http_api
from tests.chassis.attack.login import Login, with_password
from tests.chassis.attack.messages import Messages, costly
from tests.chassis.attack.sales import Sales
from tests.chassis.attack.verdict import MOST_MEMORY, Found, late, lateness, misplaced
from tests.chassis.attack.watch import Watch, slowdown
from tests.chassis.conftest import eventually
from tests.chassis.faults.fleet import Fleet, Member
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site

# As in production, but for spans that nobody collects, and for the rows in hand of a relay that was
# killed: another one may have them only when the lease is over.
ENVIRONMENT = {
    "BATCH_SIZE": "100",
    "RELAY_LEASE": "3s",
    "OTEL_SDK_DISABLED": "true",  # feature: tracing
}
_MARGIN = 3.0  # seconds
_PATIENCE = 120.0  # seconds until all is done when everybody has stopped
_EFFECTS = "SELECT payload->>'sale_id', count(*) FROM journal GROUP BY 1"
_ARTICLES = "SELECT sku, sale_id::text FROM sale_lines WHERE sku LIKE 'http-%'"
_OUTGOING = "SELECT count(*) FROM dead_letters WHERE outgoing"


@dataclass(frozen=True)
class Plan:
    """What one run does.

    Args:
        seed: of all that is chosen.
        seconds: of attacks.
        sales: good ones, spread over this time.
        processes: of the service.
        strength: share of what attackers do at most; the whole takes most of two processors.
        calm: seconds between two causes; None: as long as it takes to see who is late.
        latest: seconds after which a sale has to be announced while nothing is wrong; on a
            machine that has other things to do, as many times longer as everything takes.
        every: seconds between two lines of progress.
    """

    seed: int
    seconds: float
    sales: int
    processes: int = 3
    strength: float = 1.0
    calm: float | None = None
    latest: float = 5.0
    every: float = 30.0


class Attack:
    """One run against one site.

    Args:
        plan: of it.
        site: where it happens.
        server: the broker, for its administrator.
        say: takes a line of progress.
    """

    def __init__(
        self, plan: Plan, site: Site, server: VirtualHosts, say: Callable[[str], None]
    ) -> None:
        self._plan, self._site, self._say = plan, site, say
        # Another seed than that of good sales, or bad ones would have their ids.
        self._sales, self._messages = Sales(), Messages(site, plan.seed + 1)
        self._login = Login(site.broker_url, server)
        self._environment = {
            **site.environment,
            **ENVIRONMENT,
            "HTTP_CLIENTS": str(round(500 * plan.strength)),  # feature: http_api
            "DATABASE_URL": with_password(site.database_url),
            "BROKER_URL": self._login.url,
        }
        self._poison = 0

    async def run(self, folder: Path) -> list[str]:
        """Attack; whatever is not as it should be, in words.

        Args:
            folder: of the logs of the processes.
        """
        await self._login.give()
        self._slowdown = slowdown()
        self._limit = self._plan.latest * self._slowdown
        ports = free_ports(self._plan.processes)
        async with Fleet(self._site, folder, printed=False, apart=True) as fleet:
            starting = [
                fleet.start(
                    supervised=True,
                    ready=False,
                    environment={**self._environment, "HTTP_PORT": str(port)},
                )
                for port in ports
            ]
            members = await asyncio.gather(*starting)
            await asyncio.gather(*(member.ready(within=_PATIENCE) for member in members))
            chance = random.Random(self._plan.seed)
            calm = self._limit + _MARGIN if self._plan.calm is None else self._plan.calm
            self._causes = Causes(self._site, members, self._login, chance, calm)
            self._watch = Watch(members)
            self._clients = Clients(ports, self._sales, self._plan.seed)  # feature: http_api
            async with self._sales.listening(self._site):
                await self._attack()
                self._say("all attackers have stopped; waiting for what is left")
                with suppress(TimeoutError):
                    await eventually(self._done, within=_PATIENCE)
            return await self._account(fleet)

    async def _attack(self) -> None:
        plan, messages, pause = self._plan, self._messages, 1 / self._plan.strength
        bodies = await asyncio.to_thread(costly, plan.seed)
        until, count = time.monotonic() + plan.seconds, plan.sales
        load = Load(self._site, seed=plan.seed, patience=plan.seconds + _PATIENCE)
        async with asyncio.TaskGroup() as group:
            # feature: http_api {
            count -= plan.sales // 2
            clients = self._clients
            group.create_task(clients.place(plan.sales // 2, seconds=plan.seconds))
            group.create_task(clients.ask_for_trouble(bodies, pause=pause / 2, until=until))
            group.create_task(clients.hold(round(600 * plan.strength), until=until))
            # feature: http_api }
            group.create_task(self._sales.publish(load, count, seconds=plan.seconds))
            group.create_task(messages.garbage(rate=10 / pause, until=until))
            group.create_task(messages.large(bodies, pause=2 * pause, until=until))
            group.create_task(self._write_poison(2 * pause, until))
            group.create_task(self._causes.go_on(until))
            group.create_task(self._watch.go_on(until))
            group.create_task(self._progress(until))
        await load.close()

    async def _write_poison(self, pause: float, until: float) -> None:
        chance = random.Random(self._plan.seed)
        self._poison = await outbox.poison(self._site, chance, pause=pause, until=until)

    async def _progress(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            sales = self._sales
            self._say(
                f"{left:.0f} s left; accepted {len(sales.accepted)}, waiting "
                f"{len(sales.waiting)}; bad messages {self._messages.sent}; "
                f"causes {len(self._causes.over)}; most memory {self._memory()}; slowed down "
                f"{self._watch.slowdowns[-1] if self._watch.slowdowns else 1:.1f} times"
            )
            await asyncio.sleep(min(left, self._plan.every))

    async def _done(self) -> bool:
        await asyncio.sleep(0.5)
        waiting = await self._site.waiting()
        heard = f"SELECT 1 FROM outbox WHERE type <> '{outbox.UNHEARD}' LIMIT 1"
        return (
            not self._sales.waiting
            and waiting.keys() <= {"outbox"}
            and not await self._site.rows(heard)
        )

    async def _account(self, fleet: Fleet) -> list[str]:
        self._watch.look_at_memory()
        await self._watch.look_at_answers()
        statuses = [status for status, _ in await fleet.terminate()]
        texts: set[bytes] = set()
        texts = self._clients.texts  # feature: http_api
        await self._watch.look_at_the_rest(self._environment, texts)
        site, sales, causes = self._site, self._sales, self._causes.over
        ((outgoing,),) = await site.rows(_OUTGOING)
        found = Found(
            Counter(dict(await site.rows(_EFFECTS))),
            [(sku, sale) for sku, sale in await site.rows(_ARTICLES)],
        )
        problems = misplaced(sales, self._messages.ends, found)
        problems += late(sales, causes, limit=self._limit)
        problems += self._watch.shown
        problems += [f"a process ended with {status}" for status in statuses if status]
        if outgoing != self._poison:
            problems.append(f"{outgoing} of {self._poison} poisonous events were set aside")
        for name, megabytes in self._watch.largest.items():
            if megabytes > MOST_MEMORY:
                problems.append(f"{name} had {megabytes:.0f} MB")
        # feature: http_api {
        answers = self._clients.answers
        if wrong := answers.keys() - REFUSALS - {CUT}:
            problems.append(f"bad requests were answered with {sorted(wrong)}")
        self._say(f"answers to bad requests: {dict(answers)}")
        # feature: http_api }
        self._report(fleet.members)
        return problems

    def _report(self, members: list[Member]) -> None:
        sales, causes = self._sales, self._causes.over
        waits = sorted(lateness(sales, causes, limit=self._limit).values()) or [0.0]
        middle, late_ones = waits[len(waits) // 2], sum(each > self._plan.latest for each in waits)
        self._say(f"accepted {len(sales.accepted)}, announced {len(sales.announced)}")
        self._say(
            f"waited while nothing was wrong: {middle:.2f} s, one in a hundred "
            f"{waits[len(waits) * 99 // 100]:.2f} s, at most {waits[-1]:.2f} s; "
            f"{late_ones} longer than {self._plan.latest:g} s"
        )
        self._say(
            f"everything took {self._slowdown:.1f} times as long as on an idle machine before the "
            f"attack, {max(self._watch.slowdowns, default=1):.1f} times at most in it"
        )
        self._say(f"causes: {dict(Counter(each.name.partition(':')[0] for each in causes))}")
        self._say(f"bad messages: {self._messages.sent}; poisonous events: {self._poison}")
        self._say(f"most memory: {self._memory()}; lives {[each.lives for each in members]}")
        self._say(f"the longest pause of the attacker itself: {self._watch.lag:.2f} s")

    def _memory(self) -> str:
        return f"{max(self._watch.largest.values(), default=0):.0f} MB"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()
