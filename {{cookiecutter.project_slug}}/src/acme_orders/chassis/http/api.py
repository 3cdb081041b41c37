# feature: http_api
"""The HTTP API: the routes of every slice, and what surrounds each request."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.chassis.database.failures import is_permanent
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import (
    ConfigurationError,
    Conflict,
    ConstraintViolated,
    DatabaseError,
    DatabaseUnavailable,
    MessageError,
    ServiceError,
    StatementTimeout,
)
from acme_orders.chassis.http.input import Input, explain
from acme_orders.chassis.http.measured import Measured, named
from acme_orders.chassis.http.requests import FAILED, Requests, refusal
from acme_orders.chassis.http.tenant_header import scoped_by_header  # feature: row, rls, schema
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.tenancy.scope import UnknownTenant  # feature: row, rls, schema

_UNFIT = 422
# The first that fits; anything else is a bug, and a 500.
STATUS: tuple[tuple[type[ServiceError], int], ...] = (
    (DatabaseUnavailable, 503),
    (StatementTimeout, 503),
    (Conflict, 503),
    (ConstraintViolated, 409),
    (UnknownTenant, 403),  # feature: row, rls, schema
    (MessageError, 400),
    (DatabaseError, _UNFIT),  # with SQLSTATE 22: a value that does not fit its type
)


class Refusal(BaseModel):
    """The form of every answer with a status of 400 or more."""

    detail: str


def api(
    title: str,
    routers: Iterable[APIRouter],
    manager: Manager,
    *,
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
        responses={"4XX": {"model": Refusal}, "5XX": {"model": Refusal}},
        redirect_slashes=False,  # it would send clients to whatever host they have named
        # feature: tracing {
        # Its own spans hold paths and queries as clients wrote them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # feature: tracing }
    )
    _include(app, routers)
    for error, _ in STATUS:
        app.add_exception_handler(error, _explain)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(Exception, _fail)
    requests = Requests(
        app,
        manager=manager,
        places=settings.http_concurrency,
        wait=settings.http_wait,
        largest_body=settings.max_body_bytes,
        inspect=what_comes.inspect,
        refused=lambda reason: metrics.http_refused.labels(reason).inc(),
    )

    @scoped_by_header  # feature: row, rls, schema
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await requests(scope, receive, send)

    paths = app.openapi()["paths"].items()  # with those of routers in routers
    routes = [f"{method.upper()} {path}" for path, methods in paths for method in methods]
    return Measured(answer, [*routes, *named(app.routes)], port="api", metrics=metrics)


def _include(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Add the routes of all slices; FastAPI would let the first of two answer, and be silent."""
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


async def _explain(_: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    if isinstance(error, DatabaseError) and _is_ours(error, status):
        raise error
    # What PostgreSQL says of its own trouble is for the log, not for a client.
    return refusal(status, "try again later" if status == 503 else str(error))  # noqa: PLR2004


def _is_ours(error: DatabaseError, status: int) -> bool:
    """Whether it says nothing about what the client has sent."""
    if status == _UNFIT and not is_permanent(error):
        return True
    return error.own and status < 500  # noqa: PLR2004


async def _refuse(_: Request, error: Any) -> JSONResponse:
    return refusal(422, explain(error.errors()))


async def _fail(_: Request, __: Exception) -> JSONResponse:
    return refusal(500, FAILED)
