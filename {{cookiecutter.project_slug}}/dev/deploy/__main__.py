"""Rehearses a deploy: `make deploy-rehearsal`, `make deploy-rehearsal FROM=1.4`.

The release before (a git reference, the newest tag without one) and the working tree run on one
database and one RabbitMQ, under load, while the migrations of the new one go through. GO, status 0;
NO-GO with the reasons, status 1; 78 if there is no release to begin with.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from acme_orders.chassis.errors import ConfigurationError

from dev.databases import Databases
from dev.deploy.rehearsal import Rehearsal
from dev.deploy.releases import Release, changed, released
from dev.virtual_hosts import VirtualHosts

MISCONFIGURED = 78


def main() -> int:
    """Carry it out on the servers of the environment; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.deploy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="reference", default="", help="the release that runs")
    parser.add_argument("--check", action="store_true", help="only whether there is one")
    options = parser.parse_args()
    project = Path.cwd()
    with TemporaryDirectory(prefix="rehearsal-") as folder:
        (Path(folder) / "old").mkdir()
        try:
            old = released(project, options.reference, Path(folder) / "old")
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return MISCONFIGURED
        return 0 if options.check else _rehearse(old, project, Path(folder))


def _rehearse(old: Release, project: Path, folder: Path) -> int:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {line}", flush=True)

    databases = Databases(os.environ["DATABASE_URL"])
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    say(f"from {old.name} to {changed(project, old.name)}")
    database, host = databases.create(), hosts.create()
    try:
        new = Release("the new release", project)
        rehearsal = Rehearsal(old, new, database, host, folder, say)
        asyncio.run(rehearsal.run())
    finally:
        hosts.drop(host)
        databases.drop(database)
    for reason in rehearsal.reasons:
        print(f"  • {reason}")
    if rehearsal.reasons and not rehearsal.begun:
        say(f"NO VERDICT: {old.name} does not run by itself, or this machine is too busy")
        return 1
    if rehearsal.reasons:
        say("NO-GO: change the schema in steps that both releases can run on (docs/deploys.md)")
        return 1
    say("GO: both releases ran on one database, and each message was processed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
