# feature: http_api
"""The routes of every slice as one application, and the OpenAPI document that it has of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.params import Depends

from acme_orders.chassis.http.document import UNFIT, complete, protect
from acme_orders.chassis.http.explained import HANDLERS
from acme_orders.chassis.http.shared import described, listed, refuse_shared
from acme_orders.chassis.tenancy.http_header import ask_for_header  # feature: row, rls, schema


@dataclass(frozen=True)
class Application:
    """What answers, and what it says of itself.

    Args:
        app: of FastAPI; nothing surrounds its requests yet.
        served: method and path of each route, such as `GET /parcels`.
        document: of OpenAPI.
    """

    app: FastAPI
    served: frozenset[str]
    document: Mapping[str, Any]


def application(
    title: str,
    version: str,
    routers: Mapping[str, APIRouter],
    *,
    scheme: Mapping[str, Any] | None = None,
    dependencies: Sequence[Depends] = (),
) -> Application:
    """Put the routes together.

    Args:
        title: of the service.
        version: of it.
        routers: of its slices, by their names.
        scheme: of OpenAPI, by which requests are admitted; None: all are.
        dependencies: of each route.

    Raises:
        ConfigurationError: two slices have the same route, or the same function for one.
    """
    app = FastAPI(
        title=title,
        version=version,
        dependencies=dependencies,
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
    refuse_shared(routers)
    for router in routers.values():
        app.include_router(router)
    document = app.openapi()
    if scheme:
        protect(document, scheme)
    complete(document)
    ask_for_header(document)  # feature: row, rls, schema
    app.openapi = lambda: document  # type: ignore[method-assign]  # the way that FastAPI has for it
    served = {route for router in routers.values() for route in listed(router)}
    return Application(app, frozenset(served | described(document)), document)
