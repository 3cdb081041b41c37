"""Every panel and every alert on live series: a Prometheus beside the running service.

Where none is installed (Debian: `apt-get install prometheus`) this is skipped, and says so.
"""

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dev.ports import free_ports
from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.conftest import Connect, eventually, rows, send, sold
from tests.chassis.faults.prometheus import BACKFILL, RULES, prometheus

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus is installed"),
]


@pytest.fixture
def environment(database_url: str, broker_url: str) -> dict[str, str]:
    """Settings of a process on servers of this test."""
    (port,) = free_ports(1)
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": str(port),
        "HTTP_PORT": "0",
        "TOPOLOGY_CHECK": "1s",
        "OTEL_SDK_DISABLED": "true",  # feature: tracing
    }


@pytest.fixture
async def sender(connect: Connect, broker_url: str) -> AsyncIterator[Any]:
    """Another service, which sends."""
    async with connect(broker_url=broker_url) as service:
        yield service


def test_the_rules_are_rules() -> None:
    """As Prometheus itself reads them."""
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True)


async def test_every_expression_has_series_and_every_alert_is_quiet(
    environment: dict[str, str], sender: Any, tmp_path: Path
) -> None:
    """While messages are processed, nothing fails, and a backfill stands where it stands."""
    await rows(sender, BACKFILL)
    async with process(environment) as service:
        await service.ready()
        with prometheus(tmp_path, int(environment["OPERATIONS_PORT"])) as watching:

            async def none() -> bool:
                await send(sender, *(sold() for _ in range(20)))
                return not await watching.empty()

            try:
                await eventually(none, within=90)
            except TimeoutError:
                assert await watching.empty() == set()
            assert await watching.alerts() == set()


@pytest.mark.parametrize(
    ("runs", "missing"), [("relay", "ConsumerMissing"), ("consumer", "RelayMissing")]
)
async def test_whoever_is_missing_is_missed(
    environment: dict[str, str], sender: Any, tmp_path: Path, runs: str, missing: str
) -> None:
    """By a process that does something else, whose `/ready` is green."""
    async with process(environment, "--only", runs) as service:
        await service.ready()
        assert await service.status("/ready") == 200
        await send(sender, sold())
        with prometheus(tmp_path, int(environment["OPERATIONS_PORT"])) as watching:

            async def only_that() -> bool:  # before the first look at it everything is missing
                return await watching.alerts() == {missing}

            await eventually(only_that, within=60)
