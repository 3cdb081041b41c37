# feature: http_api
"""Requests are counted by the template of their route; nothing of what a client wrote is kept."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from acme_orders.chassis.process.service import Service

from tests.chassis.conftest import Connect, eventually
from tests.chassis.integration.outbox_events import metric
from tests.chassis.integration.test_api import FORM, ask
from tests.chassis.slices.sales.repository import Sales

COUNT = "http_request_duration_seconds_count"


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory."""
    async with connect() as connected:
        yield connected


def routes(service: Service) -> set[str]:
    """What the label can be."""
    families = (service.metrics.http_requests, service.metrics.http_request_duration)
    return {
        sample.labels["route"]
        for family in families
        for each in family.collect()
        for sample in each.samples
    }


async def test_a_request_is_counted_and_timed_by_its_route(service: Service, port: int) -> None:
    """Its template, whatever id is in its path, and whatever its answer is; once."""
    asked: list[tuple[str, str, Any, str, str]] = [
        ("POST", "/sales", FORM, "POST /sales", "2xx"),
        ("POST", "/sales", {}, "POST /sales", "4xx"),
        ("GET", f"/sales/{uuid4()}", None, "GET /sales/{sale_id}", "4xx"),
        ("GET", "/sales?limit=5", None, "GET /sales", "2xx"),
    ]
    for method, path, body, route, status in asked:
        labels = {"port": "api", "route": route}
        before = [
            metric(service, "http_requests_total", **labels, status=status),
            metric(service, COUNT, **labels),
        ]
        await ask(port, method, path, body)
        await eventually(lambda: metric(service, COUNT, **labels) == before[1] + 1)  # noqa: B023
        assert metric(service, "http_requests_total", **labels, status=status) == before[0] + 1
    assert metric(service, "http_requests_total", status="5xx") == 0


async def test_a_failure_of_the_service_is_one(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered with 500, counted so, and told of at a level that is looked at."""

    async def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Sales, "page", fail)
    with capture_logs() as logs:
        await ask(port, "GET", "/sales")
        await eventually(lambda: metric(service, "http_requests_total", status="5xx") == 1)
    (told,) = (each for each in logs if each["event"] == "http.answered")
    assert (told["route"], told["status"], told["log_level"]) == ("GET /sales", 500, "warning")


async def test_nothing_that_a_client_writes_becomes_a_series_or_a_line(
    service: Service, port: int
) -> None:
    """Neither its paths, its methods nor its values; all of them together are `other`."""
    known = routes(service)
    with capture_logs() as logs:
        for number in range(20):
            for method, path in [
                ("GET", f"/planted-{number}"),
                (f"PLANTED{number}", "/sales"),
                ("DELETE", f"/sales/planted-{number}"),
                ("GET", f"/sales?limit=planted-{number}"),
            ]:
                await ask(port, method, path)
        await eventually(lambda: metric(service, COUNT, route="other") == 60)
    assert routes(service) == known
    assert {each["route"] for each in logs if each["event"] == "http.answered"} <= known
    assert "planted" not in str(logs).lower()
