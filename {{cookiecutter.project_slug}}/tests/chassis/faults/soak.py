"""All faults at random, under load: `python -m tests.chassis.faults.soak --help`.

Three processes of the service reach a PostgreSQL and a RabbitMQ of this run alone through proxies.
Two of them are killed now and then; the first has to survive everything else. At the end all is
healed, and every message is accounted for; the inbox has forgotten those that were sent early on,
and refuses copies of them. Exit status 0 means that nothing was lost, doubled or
surprising, and that the first process holds no more than at the beginning.

Where a Prometheus is installed, it looks on: no panel and no alert is without series, and no alert
fires that these faults do not call for.
"""

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

from acme_orders.chassis.database.driver import DriverError
from acme_orders.chassis.errors import DatabaseUnavailable

from dev.command import ends_with_the_block
from dev.environment import POSTGRES, RABBITMQ, forgotten
from dev.ports import free_ports
from dev.postgres import Postgres
from dev.proxy import Proxy
from dev.rabbitmq import RabbitMQ, install_rabbitmq
from tests.chassis.conftest import eventually, migrate
from tests.chassis.faults.account import Account, settled
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.forgetful import ENVIRONMENT as FORGETFUL
from tests.chassis.faults.forgetful import age, forgetful, went
from tests.chassis.faults.load import Load
from tests.chassis.faults.management import Management, marked
from tests.chassis.faults.mixture import send
from tests.chassis.faults.nemesis import PROCESSES, SURROUNDINGS, Scene, haunt
from tests.chassis.faults.outcome import Held, Outcome
from tests.chassis.faults.seen import Seen, watching
from tests.chassis.faults.site import Site, opened

# Limits that end every wait soon, so that many faults are survived in a short time.
ENVIRONMENT = {
    "HEARTBEAT": "3",
    "CONNECT_TIMEOUT": "2s",
    "ACQUIRE_TIMEOUT": "2s",
    "STATEMENT_TIMEOUT": "5s",
    "LOCK_TIMEOUT": "1s",
    "HANDLER_TIMEOUT": "15s",
    "PUBLISH_TIMEOUT": "5s",
    "HOLD_TIMEOUT": "20s",
    "STALL_TIMEOUT": "10s",
    "DRAIN_TIMEOUT": "10s",
    "OTEL_SDK_DISABLED": "true",  # nobody collects spans here, and memory is compared
    **FORGETFUL,
}
_PATIENCE = 180.0  # seconds, for what is left when the faults are over


@dataclass(frozen=True)
class Plan:
    """What one run does.

    Args:
        seed: of all that is chosen.
        seconds: of faults under load.
        messages: spread over this time; some are sent twice besides.
        every: seconds between two lines of progress.
    """

    seed: int
    seconds: float
    messages: int
    every: float = 30.0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


async def soak(plan: Plan, folder: Path) -> tuple[Account, list[str]]:
    """Run it; the account, and whatever is not as it should be.

    Args:
        plan: of the run.
        folder: where the logs of the processes are written.
    """
    with servers() as (postgres, rabbitmq, to_postgres, to_rabbitmq):
        database_url, broker_url = postgres.create_database(), rabbitmq.create_virtual_host()
        migrate(database_url)
        management = Management(broker_url, rabbitmq.management_url)
        async with (
            opened(database_url, broker_url, ENVIRONMENT) as plain,
            marked(management) as marks,
        ):
            site = forgetful(plain)
            # A new queue that RabbitMQ has not written yet does not survive that it is killed.
            await eventually(rabbitmq.queues_written)
            proxied = {
                "DATABASE_URL": to_postgres.url(database_url),
                "BROKER_URL": to_rabbitmq.url(broker_url),
            }
            async with Fleet(site, folder, printed=False, marks=marks) as fleet:
                ports = free_ports(3)
                starting = [
                    fleet.start(
                        supervised=True, environment={**proxied, "OPERATIONS_PORT": str(port)}
                    )
                    for port in ports
                ]
                first, *victims = await asyncio.gather(*starting)
                scene = Scene(
                    site,
                    victims,
                    postgres,
                    rabbitmq,
                    to_postgres,
                    to_rabbitmq,
                    random.Random(plan.seed),
                )
                with watching(folder, ports) as seen:
                    await seen.begin(site)
                    outcome = await _under_faults(plan, scene, fleet, seen)
                    problems = [*outcome.problems(first), *await seen.problems()]
                say(f"Prometheus: {seen}")
            shown = [f"the secret {each} was shown" for each in sorted(marks.shown)]
            return outcome.account, [*problems, *shown]


@contextmanager
def servers() -> Iterator[tuple[Postgres, RabbitMQ, Proxy, Proxy]]:
    """Servers of this run alone, and the networks to them."""
    with forgotten(*POSTGRES, *RABBITMQ), ExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        rabbitmq = stack.enter_context(RabbitMQ(install_rabbitmq()))
        port = urlsplit(rabbitmq.url).port
        assert port is not None
        to_postgres = stack.enter_context(Proxy("127.0.0.1", postgres.port))
        yield postgres, rabbitmq, to_postgres, stack.enter_context(Proxy("127.0.0.1", port))


async def _under_faults(plan: Plan, scene: Scene, fleet: Fleet, seen: Seen) -> Outcome:
    first, outcome = fleet.members[0], Outcome()
    load = Load(scene.site, seed=plan.seed, patience=plan.seconds + _PATIENCE, timed=True)
    until = time.monotonic() + plan.seconds
    # Two at once: what hits a process, and what hits all that it needs.
    other = replace(scene, choice=random.Random(plan.seed + 1))
    async with asyncio.TaskGroup() as group:
        group.create_task(send(load, plan.messages, seconds=plan.seconds))
        for place, faults, pause in ((scene, PROCESSES, 12), (other, SURROUNDINGS, 4)):
            group.create_task(haunt(place, faults, pause=pause, until=until, done=outcome.faults))
        group.create_task(age(scene.site, until=until))
        group.create_task(_watch(plan, until, load, fleet, outcome))
    say("healed; waiting for what is left")
    await asyncio.gather(*(member.ready(within=60) for member in fleet.members))
    await _quiet(scene.site)
    outcome.held.append(Held.by(first))
    outcome.reconnects = await first.metric("broker_reconnects_total")
    seen.end()
    outcome.account = await settled(scene.site, [load], fleet, within=_PATIENCE)
    await load.close()
    count, problems = await went(scene.site, seconds=plan.seconds)
    outcome.account.notes += problems
    say(f"the inbox has forgotten {count} messages")
    _report(plan, outcome, fleet)
    return outcome


async def _watch(plan: Plan, until: float, load: Load, fleet: Fleet, outcome: Outcome) -> None:
    """Say how far it is, now and then, and what the first process held at the first time."""
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, plan.every))
        held = Held.by(fleet.members[0])
        if not outcome.held and until - time.monotonic() < plan.seconds - min(60, plan.seconds / 3):
            outcome.held.append(held)
        effects: int | str = "unknown"
        with suppress(DatabaseUnavailable, DriverError):
            effects = await fleet.site.count("sales")
        say(
            f"{max(0, until - time.monotonic()):.0f} s left; attempted {len(load.attempted)}, "
            f"acknowledged {len(load.acknowledged)}, effects {effects}; "
            f"faults {outcome.faults.total()}; lives {[each.lives for each in fleet.members]}; "
            f"the first process: {held}"
        )


async def _quiet(site: Site) -> None:
    with suppress(TimeoutError):
        await eventually(lambda: _empty(site), within=_PATIENCE)


async def _empty(site: Site) -> bool:
    await asyncio.sleep(0.5)
    return not await site.waiting()


def _report(plan: Plan, outcome: Outcome, fleet: Fleet) -> None:
    say(f"seed {plan.seed}, {plan.seconds:.0f} s, {plan.messages} messages")
    for fault, number in sorted(outcome.faults.items()):
        say(f"  {fault:<24}{number:>5}")
    ended = Counter(status for member in fleet.members for status in member.statuses)
    say(f"processes ended with {dict(ended)}; reconnects of the first: {outcome.reconnects:g}")
    say(f"the first process held {outcome.held[0]} early on, {outcome.held[-1]} at the end")
    say(", ".join(f"{name} {number}" for name, number in outcome.account.row().items()))


def main() -> int:
    """Read the arguments, run, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chassis.faults.soak", description=__doc__
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--messages", type=int, default=20_000)
    options = parser.parse_args()
    plan = Plan(options.seed, options.minutes * 60, options.messages)
    folder = Path(mkdtemp(prefix="soak-"))
    logging.disable()  # aio-pika tells of every attempt of our client to connect
    say(f"seed {plan.seed}; the logs of the processes are in {folder}")
    with ends_with_the_block():
        _, problems = asyncio.run(soak(plan, folder))
    for problem in problems:
        say(problem)
    say("FAILED" if problems else "everything is accounted for")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
