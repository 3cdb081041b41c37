"""The operations port: metrics for Prometheus, `/live` and `/ready` for the orchestrator."""

from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from acme_orders.errors import ServiceError
from acme_orders.observability.metrics import Metrics

Probe = Callable[[], Awaitable[None]]


def operations(metrics: Metrics, probes: Mapping[str, Probe]) -> Starlette:
    """The application of the operations port.

    Args:
        metrics: what `/metrics` shows.
        probes: what has to work before the service may receive work; each raises a ServiceError.
    """

    async def scrape(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def live(_: Request) -> Response:
        # The loop turns. An outage elsewhere is no reason to restart this process.
        return PlainTextResponse("live\n")

    async def ready(_: Request) -> Response:
        found = {}
        for name, probe in probes.items():
            try:
                await probe()
            except ServiceError as error:
                found[name] = str(error)
            else:
                found[name] = "ok"
        well = all(state == "ok" for state in found.values())
        return JSONResponse(found, status_code=200 if well else 503)

    routes = [Route("/metrics", scrape), Route("/live", live), Route("/ready", ready)]
    return Starlette(routes=routes)
