"""The pieces of a fault as fixtures, and the account of all faults at the end of the run."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from dev.virtual_hosts import VirtualHosts
from tests.chassis.conftest import PROJECT
from tests.chassis.faults.account import Account, settled
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.management import Management, marked
from tests.chassis.faults.marks import Marks
from tests.chassis.faults.site import Site, opened
from tests.conftest import server

SEED = int(os.environ.get("FAULT_SEED", "1"))
NUMBERS = ("attempted", "acknowledged", "ok", "lost", "duplicated", "unexpected", "recovered")
# Faults that this run does not produce, and why.
NOT_HERE = {
    "F46": "each RabbitMQ is a run of its own, with TEST_RABBITMQ_SERVER=…/rabbitmq-server",
}
Settle = Callable[..., Awaitable[Account]]


@pytest.fixture
def environment() -> dict[str, str]:
    """Settings of all processes of a test; a module or a test overrides it."""
    return {}


@pytest.fixture
async def site(
    database_url: str,
    broker_url: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Site]:
    """A database and a virtual host of this test alone."""
    monkeypatch.chdir(PROJECT)
    async with opened(database_url, broker_url, environment) as found:
        yield found


@pytest.fixture
def management_url() -> str:
    """Of the server of `broker_url`; a module with one of its own overrides both."""
    return server("RABBITMQ_MANAGEMENT_URL")


@pytest.fixture
async def marks(broker_url: str, management_url: str) -> AsyncIterator[Marks]:
    """In the place of all secrets of the processes; whatever shows one fails the test."""
    async with marked(Management(broker_url, management_url)) as found:
        yield found
    assert not found.shown


@pytest.fixture
async def fleet(site: Site, tmp_path: Path, marks: Marks) -> AsyncIterator[Fleet]:
    """No process yet."""
    async with Fleet(site, tmp_path, marks=marks) as found:
        yield found


@pytest.fixture
async def load(site: Site) -> AsyncIterator[Load]:
    """A client that has sent nothing yet."""
    found = Load(site, seed=SEED)
    yield found
    await found.close()


@pytest.fixture
def settle(
    site: Site, load: Load, fleet: Fleet, record_property: Callable[[str, object], None]
) -> Settle:
    """Wait until everything is quiet, stop the fleet, and return the account."""

    async def settle(*others: Load, within: float = 150) -> Account:
        account = await settled(site, [load, *others], fleet, within=within)
        record_property("account", json.dumps(account.row()))
        return account

    return settle


@pytest.fixture(autouse=True)
def _named(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Say in the report which fault a test produces."""
    for marker in request.node.iter_markers("fault"):
        name, what = marker.args
        record_property("fault", json.dumps([name, what]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the account of all faults."""
    rows, total = [], dict.fromkeys(NUMBERS, 0)
    for report in (
        each for kind in ("passed", "failed") for each in terminalreporter.stats.get(kind, ())
    ):
        found = dict(report.user_properties)
        if report.when != "call" or "fault" not in found:
            continue
        name, what = json.loads(found["fault"])
        account = json.loads(found.get("account", "{}"))
        for number in NUMBERS:
            total[number] += account.get(number, 0)
        rows.append((name, what + ("" if report.passed else "  FAILED"), account, report.duration))
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section(f"faults, FAULT_SEED={SEED}")
    write(f"{'':<5}{'':<58}" + "".join(f"{number:>13}" for number in NUMBERS) + f"{'seconds':>9}")
    for name, what, account, seconds in sorted(rows, key=lambda row: (int(row[0][1:]), row[1])):
        numbers = "".join(f"{account.get(number, '-'):>13}" for number in NUMBERS)
        write(f"{name:<5}{what:<58}{numbers}{seconds:>9.1f}")
    write(f"{'':<5}{'total':<58}" + "".join(f"{total[number]:>13}" for number in NUMBERS))
    for name, why in NOT_HERE.items():
        write(f"{name:<5}not produced here: {why}")
    write(f"{'':<5}on RabbitMQ {_version()}")  # last: it may be gone, and the account stands


def _version() -> str:
    """The server's; what is wrong with it in its place, or the run would end without a result."""
    hosts = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
    try:
        return str(hosts.ask("GET", "/api/overview")["rabbitmq_version"])
    except (OSError, HTTPException, RuntimeError) as error:
        return f"of an unknown version: {error!r}"
