"""Every panel and every alert on live series: a Prometheus beside the running service.

Where none is installed (Debian: `apt-get install prometheus`) this is skipped, and says so.
"""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.conftest import Connect, eventually, rows, send, sold
from tests.contracts.test_dashboards import ROOT, alert_expressions, panel_expressions

RULES = ROOT / "deploy/prometheus/rules.yml"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus is installed"),
]


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


class Prometheus:
    """A Prometheus with the rules of the project, which scrapes one port."""

    def __init__(self, folder: Path, target: int) -> None:
        self.port = free_port()
        job = re.search(r'- name: "(.*)"', RULES.read_text("utf-8"))
        assert job
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{RULES}']\n"
            f"scrape_configs: [{{job_name: '{job[1]}', "
            f"static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        )
        self.process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )

    async def ask(self, path: str, **query: str) -> Any:
        """Its answer; None as long as it does not answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"

        def get() -> Any:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return json.load(answer)["data"]
            except urllib.error.HTTPError as error:
                if error.code == 503:
                    return None  # it is still starting
                raise AssertionError(f"{query}: {error.read().decode()}") from error
            except urllib.error.URLError:
                return None

        return await asyncio.to_thread(get)

    async def series(self, expression: str) -> list[Any]:
        """What an expression gives now."""
        found = await self.ask("query", query=expression)
        return found["result"] if found else []

    async def alerts(self) -> set[str]:
        """Those whose expression is true."""
        found = await self.ask("alerts")
        return {each["labels"]["alertname"] for each in found["alerts"]} if found else {"none yet"}


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Prometheus]:
    """Ended at the end."""
    started = Prometheus(folder, target)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.wait(30)


@pytest.fixture
def environment(database_url: str, broker_url: str) -> dict[str, str]:
    """Settings of a process on servers of this test."""
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": str(free_port()),
        "HTTP_PORT": "0",
        "TOPOLOGY_CHECK": "1s",
        "OTEL_SDK_DISABLED": "true",  # feature: tracing
    }


@pytest.fixture
async def sender(connect: Connect, broker_url: str) -> AsyncIterator[Any]:
    """Another service, which sends."""
    async with connect(broker_url=broker_url) as service:
        yield service


def asked(expression: str) -> str:
    """What an expression compares; it is there whether or not it is too much."""
    expression = expression.replace("$__rate_interval", "30s")
    expression = re.sub(r"absent\((\w+\{[^}]*\})\)", r"\1", expression)
    return re.sub(r"\s+(?:==|>|<)\s+[\d.]+", "", expression)


def test_the_rules_are_rules() -> None:
    """As Prometheus itself reads them."""
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True)


async def test_every_expression_has_series_and_every_alert_is_quiet(
    environment: dict[str, str], sender: Any, tmp_path: Path
) -> None:
    """While messages are processed, nothing fails, and a backfill stands where it stands."""
    await rows(
        sender,
        "INSERT INTO backfill_run (name, state, batch_size, rows_estimate, checksum) "
        "VALUES ('fill', 'completed', 5, 10, '')",
    )
    expressions = {*map(asked, [*alert_expressions(), *panel_expressions()])}
    async with process(environment) as service:
        await service.ready()
        with prometheus(tmp_path, int(environment["OPERATIONS_PORT"])) as watching:

            async def empty() -> set[str]:
                await send(sender, *(sold() for _ in range(20)))
                return {each for each in expressions if not await watching.series(each)}

            async def none() -> bool:
                return not await empty()

            try:
                await eventually(none, within=90)
            except TimeoutError:
                assert await empty() == set()
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
