"""What Prometheus is told of backfills."""

from contextlib import closing

from prometheus_client import CollectorRegistry
from starlette.requests import Request

from acme_orders.chassis.observability.probes import operations

from tests.chassis.backfills.test_runs import FEW
from tests.chassis.backfills.tickets import Tickets
from tests.chassis.conftest import Connect


async def test_a_scrape_tells_how_backfills_are(tickets: Tickets, connect: Connect) -> None:
    """As they are at this moment; the service may read them and not write them."""
    tickets.add(1000)
    async with connect() as service:
        with closing(tickets.steps(limits=FEW)) as steps:
            next(steps)
            ops = operations(service.metrics, {}, service.backfill_report.update)
            scrape = ops.routes[0].endpoint  # type: ignore[attr-defined]
            tickets.sql("UPDATE backfill_run SET moved_at = now() - interval '1 hour'")
            text = (await scrape(Request({"type": "http", "headers": []}))).body.decode()
            assert 'backfill_state{backfill="fill",state="running"} 1.0' in text
            assert 'backfill_rows_done{backfill="fill"} 100.0' in text
            assert 'backfill_rows{backfill="fill"} 1000.0' in text
            registry: CollectorRegistry = service.metrics.registry
            labels = {"backfill": "fill"}
            assert 3600 <= (registry.get_sample_value("backfill_still_seconds", labels) or 0) < 3700
            assert (registry.get_sample_value("backfill_silent_seconds", labels) or 0) < 60
            list(steps)
        await service.backfill_report.update()
        assert registry.get_sample_value("backfill_still_seconds", labels) == 0
        assert registry.get_sample_value("backfill_state", {**labels, "state": "completed"}) == 1
