"""`make attack`: everything at once for ten minutes; exit status 0 if nothing came of it."""

import argparse
import asyncio
import logging
import os
import random
import resource
import sys
from pathlib import Path
from tempfile import mkdtemp

from dev.command import ends_with_the_block
from dev.databases import Databases
from dev.virtual_hosts import VirtualHosts
from tests.chassis.attack.attack import Attack, Plan, say
from tests.chassis.conftest import migrate
from tests.chassis.faults.site import opened

_FILES = 4096  # of ours: held sockets, and what is left of those that the service has closed


async def attack(plan: Plan, folder: Path) -> list[str]:
    """Attack a service in a database and a virtual host of its own; what is wrong, in words."""
    databases = Databases(os.environ["DATABASE_URL"])
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    database, host = databases.create(), hosts.create()
    try:
        migrate(database)
        async with opened(database, host) as site:
            return await Attack(plan, site, hosts, say).run(folder)
    finally:
        hosts.drop(host)
        databases.drop(database)


def main() -> int:
    """Read the arguments, run, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chassis.attack", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--good", type=int, default=10_000)
    parser.add_argument("--latest", type=float, default=5, help="seconds after each cause")
    parser.add_argument("--strength", type=float, default=1, help="share of what attackers do")
    options = parser.parse_args()
    plan = Plan(
        seed=options.seed,
        seconds=options.minutes * 60,
        sales=options.good,
        latest=options.latest,
        strength=options.strength,
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, most), most))
    folder = Path(mkdtemp(prefix="attack-"))
    logging.disable()  # aio-pika tells of every attempt of our client to connect
    say(f"seed {plan.seed}; the logs of the processes are in {folder}")
    with ends_with_the_block():
        problems = asyncio.run(attack(plan, folder))
    for problem in problems:
        say(problem)
    say("FAILED" if problems else "everything is accounted for")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
