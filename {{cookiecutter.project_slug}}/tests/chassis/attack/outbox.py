"""Events that no broker takes, as a mistake or somebody by hand may write them."""

import asyncio
import itertools
import random
import time

from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.faults.site import Site
from tests.chassis.integration.outbox_events import POISON

UNHEARD = "nobody.listens"


async def poison(site: Site, chance: random.Random, *, pause: float, until: float) -> int:
    """Write one of each kind in turn, and a type that nobody listens to; how many of the first."""
    kinds = itertools.cycle(chance.sample(list(POISON.values()), len(POISON)))
    written = 0
    while time.monotonic() < until:
        await _insert(site, next(kinds))
        await _insert(site, {"type": f"'{UNHEARD}'"})
        written += 1
        await asyncio.sleep(pause)
    return written


async def _insert(site: Site, columns: dict[str, str]) -> None:
    row = {"message_id": "gen_random_uuid()", "type": "'sale.booked'", "body": "'{}'"} | columns
    row["tenant_id"] = f"'{TENANT}'"  # feature: row, rls
    await site.rows(f"INSERT INTO outbox ({', '.join(row)}) SELECT {', '.join(row.values())}")
