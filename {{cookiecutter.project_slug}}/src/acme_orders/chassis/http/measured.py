"""Requests as metrics and the log see them: by the template of their route, never by their path."""

import time
from collections.abc import Iterable

import structlog
from starlette.routing import BaseRoute, Route, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acme_orders.chassis.observability import spans  # feature: tracing
from acme_orders.chassis.observability.metrics import Metrics

log = structlog.get_logger()

_OTHER = "other"
_FAILED = 500


def named(routes: Iterable[BaseRoute]) -> list[str]:
    """Routes as `Measured` calls them."""
    plain = (route for route in routes if isinstance(route, Route))
    return [f"{method} {each.path_format}" for each in plain for method in each.methods or ()]


class Measured:
    """Counts and times the requests of a port.

    Args:
        app: that answers.
        routes: of it, such as `GET /parcels/{id}`; what fits none of them is `other`, whatever a
            client has asked for.
        port: `api` or `operations`; requests of probes are no news, and not logged.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[str], *, port: str, metrics: Metrics) -> None:
        self._app, self.port, self._metrics = app, port, metrics
        self._known = {route: compile_path(route)[0] for route in routes}
        for route in (*self._known, _OTHER):
            metrics.http_request_duration.labels(port, route)
            for status in ("2xx", "3xx", "4xx", "5xx"):
                metrics.http_requests.labels(port, route, status)

    @spans.of_request  # feature: tracing
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; one whose client has gone before the answer is not counted."""
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if status:
                self._tell(scope, status, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = self.route(scope)
        self._metrics.http_requests.labels(self.port, route, f"{status // 100}xx").inc()
        self._metrics.http_request_duration.labels(self.port, route).observe(seconds)
        if self.port == "api":
            level = log.warning if status >= _FAILED else log.info
            level("http.answered", route=route, status=status, seconds=round(seconds, 4))

    def route(self, scope: Scope) -> str:
        """Method and template of what was asked for."""
        asked = f"{scope['method']} {scope['path']}"
        matching = (route for route, pattern in self._known.items() if pattern.match(asked))
        return asked if asked in self._known else next(matching, _OTHER)
