"""Goes through the checklist of the project that it stands in, as far as the first finding.

Prints who found it, and what. It is the copy's own code that runs: what was broken there counts.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from acme_orders.chassis.cli.session import command_settings
from acme_orders.chassis.observability import logs
from acme_orders.service import SERVICE

from readiness.checklist import CHECKS, go_through
from readiness.rehearsal import Subject
from readiness.strays import strays
from readiness.waivers import waivers_in


async def first_red(before: Sequence[str]) -> tuple[str, str] | None:
    """Who finds something, and what; those named in `before` are asked first."""
    if found := strays(SERVICE):
        return "slices", found[0]
    settings = command_settings(SERVICE)
    logs.configure(level="CRITICAL", style=settings.log_format)  # defects are tried on purpose
    waivers = waivers_in(Path("pyproject.toml"), [each.id for each in CHECKS])
    subject = Subject(SERVICE, settings, waivers=waivers)
    known = {name: place for place, name in enumerate(before)}
    checks = sorted(CHECKS, key=lambda each: known.get(each.id, len(known)))
    for result in await go_through(subject, checks, to_first=True):
        if not result.passed:
            return result.id, result.findings[0]
    return None


if __name__ == "__main__":
    print(*(asyncio.run(first_red(sys.argv[1:])) or ()), sep="\n")
