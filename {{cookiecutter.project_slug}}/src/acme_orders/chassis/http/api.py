# feature: http_api
"""The HTTP API: the routes of every slice, and what surrounds each request."""

from collections.abc import Iterable

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.http.docs import page
from acme_orders.chassis.http.document import UNFIT, complete
from acme_orders.chassis.http.explained import HANDLERS
from acme_orders.chassis.http.guard import Guard, guarded
from acme_orders.chassis.http.input import Input
from acme_orders.chassis.http.kept_answers import KeptAnswers
from acme_orders.chassis.http.keyed import Keyed
from acme_orders.chassis.http.measured import Measured, named
from acme_orders.chassis.http.requests import Requests
from acme_orders.chassis.http.tenant_header import scoped_by_header  # feature: row, rls, schema
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.settings import ChassisSettings


def api(
    title: str,
    routers: Iterable[APIRouter],
    manager: Manager,
    answers: KeptAnswers,
    *,
    guard: Guard | None = None,
    settings: ChassisSettings,
    metrics: Metrics,
) -> ASGIApp:
    """The application of the API port.

    Raises:
        ConfigurationError: two slices have the same route.
    """
    what_comes = Input(settings.max_body_bytes)
    app = FastAPI(
        title=title,
        dependencies=[Depends(what_comes.check_body)],
        responses=UNFIT,
        exception_handlers=HANDLERS,
        docs_url=None,  # those of FastAPI load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # it would send clients to whatever host they have named
        # feature: tracing {
        # Its own spans hold paths and queries as clients wrote them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # feature: tracing }
    )
    served = _include(app, routers)
    document = app.openapi()
    front = guarded(guard, document) if guard else None
    complete(document)
    app.openapi = lambda: document  # type: ignore[method-assign]  # the way that FastAPI has for it
    # With those of routers in routers.
    paths = document["paths"].items()
    served |= {f"{method.upper()} {path}" for path, methods in paths for method in methods}
    largest = settings.max_body_bytes
    requests = Requests(
        Keyed(app, served, manager=manager, answers=answers, largest=largest),
        manager=manager,
        places=settings.http_concurrency,
        wait=settings.http_wait,
        longest=settings.http_timeout,
        largest_body=largest,
        inspect=what_comes.inspect,
        refused=lambda reason: metrics.http_refused.labels(reason).inc(),
    )

    @scoped_by_header(document)  # feature: row, rls, schema
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await requests(scope, receive, send)

    app.add_route("/docs", page(document), include_in_schema=False)
    protected = front(answer) if front else answer
    return Measured(protected, [*served, *named(app.routes)], port="api", metrics=metrics)


def _include(app: FastAPI, routers: Iterable[APIRouter]) -> set[str]:
    """Add the routes of all slices, and name them.

    FastAPI would let the first of two answer, and be silent.
    """
    taken: dict[tuple[str, str], str] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                place = route.endpoint.__module__
                for method in sorted(route.methods or ()):
                    other = taken.setdefault((method, route.path), place)
                    if other != place:
                        raise ConfigurationError(
                            f"{other} and {place} both have the route {method} {route.path}: give "
                            "the router of each slice a prefix of its own"
                        )
        app.include_router(router)
    return {f"{method} {path}" for method, path in taken}
