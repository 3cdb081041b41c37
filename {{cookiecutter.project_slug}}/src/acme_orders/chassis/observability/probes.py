"""The operations port: metrics for Prometheus, `/live` and `/ready` for the orchestrator."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.supervision import apart

_UPDATE = 2.0  # seconds; Prometheus gives up after ten, and would have no metrics at all
log = structlog.get_logger()
Probe = Callable[[], Coroutine[Any, Any, str | None]]


def operations(
    metrics: Metrics,
    probes: Mapping[str, Probe],
    *updates: Callable[[], Coroutine[Any, Any, None]],
    pages: Sequence[Route] = (),
) -> Starlette:
    """The application of the operations port.

    Args:
        metrics: what `/metrics` shows.
        probes: what has to work before the service may receive work. Each raises an error if it
            does not, or returns what is worth a word although it does.
        updates: what brings metrics up to date that are read from the database.
        pages: routes for people.
    """

    async def scrape(request: Request) -> Response:
        for update in updates:
            with suppress(ServiceError, TimeoutError):  # an outage is told of where it hurts
                async with asyncio.timeout(_UPDATE):
                    await apart(update)
        # A tenth of a second with a hundred queries: not in the loop, where messages would wait.
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        text = await asyncio.to_thread(encode, metrics.registry)
        return Response(text, media_type=media_type)

    async def live(_: Request) -> Response:
        # The loop turns. An outage elsewhere is no reason to restart this process.
        return PlainTextResponse("live\n")

    async def look() -> tuple[dict[str, str], bool]:
        found, well = {}, True
        for name, probe in probes.items():
            try:
                said: str | None = await apart(probe)
                found[name] = said or "ok"
            except ServiceError as error:
                well, found[name] = False, str(error)
            except Exception as error:  # it may say too much to be shown here
                log.exception("probe.failed", probe=name)
                well, found[name] = False, type(error).__name__
        return found, well

    looking: list[asyncio.Task[tuple[dict[str, str], bool]]] = []

    async def ready(_: Request) -> Response:
        # Whoever asks meanwhile gets the same answer: many of them need one connection, not many.
        if not looking or looking[-1].done():
            looking[:] = [asyncio.create_task(look())]
        found, well = await asyncio.shield(looking[-1])
        return JSONResponse(found, status_code=200 if well else 503)

    routes = [Route("/metrics", scrape), Route("/live", live), Route("/ready", ready)]
    return Starlette(routes=[*routes, *pages])
