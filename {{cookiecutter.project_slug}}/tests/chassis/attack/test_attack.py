"""Everything at once for half a minute; `make attack` goes on for ten."""

import os
from pathlib import Path

import pytest

from dev.virtual_hosts import VirtualHosts
from tests.chassis.attack.attack import Attack, Plan, say
from tests.chassis.conftest import PROJECT
from tests.chassis.faults.site import opened

# After the causes are over; as many times longer as this machine is slowed down by other tests.
LATEST = 6.0


@pytest.mark.timeout(300)  # the start of three processes, and whatever is left at the end
async def test_everything_at_once(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each good sale is done once and announced, and no output has a secret."""
    monkeypatch.chdir(PROJECT)
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    plan = Plan(
        seed=1, seconds=25, sales=200, processes=2, strength=0.3, calm=1, latest=LATEST, every=5
    )
    async with opened(database_url, broker_url) as site:
        problems = await Attack(plan, site, hosts, say).run(tmp_path)
    assert not problems, "\n".join(problems)
