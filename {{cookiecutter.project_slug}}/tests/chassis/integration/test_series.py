"""Series are there before their first event: from nothing to one is no increase."""

import re

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.conftest import eventually
from tests.chassis.integration.test_operations import get
from tests.contracts.test_dashboards import alert_expressions, panel_expressions

SELECTOR = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)(=~|!~|!=|=)'([^']*)'")
# What nobody knows beforehand, and why it does no harm.
LATER = {
    "backfill_rows": "there is none before somebody runs one",
    "backfill_rows_done": "likewise",
    "backfill_silent_seconds": "likewise",
    "backfill_state": "likewise",
    "backfill_still_seconds": "likewise",
}


@pytest.fixture
def environment(database_url: str, broker_url: str) -> dict[str, str]:
    """Settings of a process on servers of this test."""
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": "0",
        "HTTP_PORT": "0",
    }


async def scraped(port: int) -> list[Metric]:
    """What Prometheus sees."""
    status, text = await get(port, "/metrics")
    assert status == 200
    return list(text_string_to_metric_families(text))


def finds(families: list[Metric], name: str, matchers: str) -> bool:
    """Whether a selector of PromQL selects something."""
    wanted = [each for each in MATCHER.findall(matchers) if each[0] != "job"]
    return any(
        sample.name == name
        and all(
            (re.fullmatch(value, sample.labels.get(label, "")) is not None) != how.startswith("!")
            for label, how, value in wanted
        )
        for family in families
        for sample in family.samples
    )


async def test_every_panel_and_alert_has_series_before_anything_happened(
    environment: dict[str, str],
) -> None:
    """Each selector in each of their expressions, in a process that has just started."""
    selectors = {
        found
        for expression in (*alert_expressions(), *panel_expressions())
        for found in SELECTOR.findall(expression)
        if found[0] not in LATER
    }
    async with process(environment) as running:
        await running.ready()
        port = running.said("service.ready")["port"]

        async def missing() -> set[tuple[str, str]]:
            families = await scraped(port)
            return {each for each in selectors if not finds(families, *each)}

        async def none() -> bool:
            return not await missing()

        try:
            await eventually(none)
        except TimeoutError:
            assert await missing() == set()
