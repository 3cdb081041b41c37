"""A Prometheus with the rules of the project, beside processes of the service."""

import asyncio
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.ports import free_ports
from tests.contracts.test_dashboards import ROOT, alert_expressions, panel_expressions

RULES = ROOT / "deploy/prometheus/rules.yml"
# A backfill that is over: the panels of backfills have no series as long as there is none.
BACKFILL = (
    "INSERT INTO backfill_run (name, state, batch_size, rows_estimate, checksum) "
    "VALUES ('fill', 'completed', 5, 10, '')"
)


def asked(expression: str) -> str:
    """What an expression compares; it is there whether or not it is too much."""
    expression = expression.replace("$__rate_interval", "30s")
    expression = re.sub(r"absent\((\w+\{[^}]*\})\)", r"\1", expression)
    return re.sub(r"\s+(?:==|>|<)\s+[\d.]+", "", expression)


def expressions() -> set[str]:
    """What each panel and each alert asks for."""
    return {*map(asked, [*alert_expressions(), *panel_expressions()])}


class Prometheus:
    """It scrapes some ports of this machine.

    Args:
        folder: of its settings and data.
        targets: the ports.
        every: seconds between two scrapes, and the longest that one takes.
    """

    def __init__(self, folder: Path, *targets: int, every: int) -> None:
        (self.port,) = free_ports(1)
        self.every = every
        job = re.search(r'- name: "(.*)"', RULES.read_text("utf-8"))
        assert job
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {every}s, scrape_timeout: {every}s, "
            f"evaluation_interval: {every}s}}\n"
            f"rule_files: ['{RULES}']\n"
            f"scrape_configs: [{{job_name: '{job[1]}', "
            f"static_configs: [{{targets: {[f'127.0.0.1:{each}' for each in targets]}}}]}}]\n"
        )
        self.process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )

    async def ask(self, path: str, **query: object) -> Any:
        """Its answer; None as long as it does not answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"

        def get() -> Any:
            try:
                with urllib.request.urlopen(url, timeout=30) as answer:
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

    async def empty(self) -> set[str]:
        """Expressions of panels and alerts that give nothing now."""
        return {each for each in expressions() if not await self.series(each)}

    async def alerts(self) -> set[str]:
        """Those whose expression is true."""
        found = await self.ask("alerts")
        return {each["labels"]["alertname"] for each in found["alerts"]} if found else {"none yet"}

    async def times(self, expression: str, since: float, until: float) -> dict[str, set[float]]:
        """When an expression gave something, by the alert that it is of, if it is of one.

        Args:
            expression: of PromQL.
            since: seconds since the epoch, as is what it returns.
            until: likewise.
        """
        found = await self.ask(
            "query_range", query=expression, start=since, end=until, step=self.every
        )
        times = dict[str, set[float]]()
        for series in found["result"]:
            alert = series["metric"].get("alertname", "")
            times.setdefault(alert, set()).update(moment for moment, _ in series["values"])
        return times


@contextmanager
def prometheus(folder: Path, *targets: int, every: int = 1) -> Iterator[Prometheus]:
    """Ended at the end."""
    started = Prometheus(folder, *targets, every=every)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.wait(30)
