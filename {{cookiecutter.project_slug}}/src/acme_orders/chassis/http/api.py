# feature: http_api
"""The HTTP API: the routes of every slice, and what surrounds each request."""

from collections.abc import Mapping

from fastapi import APIRouter, Depends
from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.http.application import application
from acme_orders.chassis.http.docs import page
from acme_orders.chassis.http.guard import Guard, guarded
from acme_orders.chassis.http.input import Input
from acme_orders.chassis.http.kept_answers import KeptAnswers
from acme_orders.chassis.http.keyed import Keyed
from acme_orders.chassis.http.measured import Measured, named
from acme_orders.chassis.http.requests import Requests
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.tenancy.http_header import scoped_by_header  # feature: row, rls, schema


def api(
    title: str,
    routers: Mapping[str, APIRouter],
    manager: Manager,
    answers: KeptAnswers,
    *,
    version: str = "0",
    guard: Guard | None = None,
    settings: ChassisSettings,
    metrics: Metrics,
) -> ASGIApp:
    """The application of the API port.

    Raises:
        ConfigurationError: two slices have the same route, or the same function for one.
    """
    what_comes = Input(settings.max_body_bytes)
    scheme = guard.scheme if guard else None
    check = [Depends(what_comes.check_body)]
    made = application(title, version, routers, scheme=scheme, dependencies=check)
    largest = settings.max_body_bytes
    requests = Requests(
        Keyed(made.app, made.served, manager=manager, answers=answers, largest=largest),
        manager=manager,
        places=settings.http_concurrency,
        wait=settings.http_wait,
        longest=settings.http_timeout,
        largest_body=largest,
        inspect=what_comes.inspect,
        refused=lambda reason: metrics.http_refused.labels(reason).inc(),
    )

    @scoped_by_header  # feature: row, rls, schema
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await requests(scope, receive, send)

    made.app.add_route("/docs", page(made.document), include_in_schema=False)
    protected = guarded(guard, answer) if guard else answer
    routes = [*made.served, *named(made.app.routes)]
    return Measured(protected, routes, port="api", metrics=metrics)
