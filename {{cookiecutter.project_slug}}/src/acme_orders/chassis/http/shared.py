# feature: http_api
"""Refuses what two slices would both answer: FastAPI lets the first do so, and is silent."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from acme_orders.chassis.errors import ConfigurationError


def refuse_shared(routers: Mapping[str, APIRouter]) -> None:
    """Check that each route, and each function behind one, is of one slice.

    Args:
        routers: of the slices, by their names.

    Raises:
        ConfigurationError: names both slices, what they share, and what helps.
    """
    functions, routes = dict[Callable[..., Any], str](), dict[str, str]()
    for name, router in routers.items():
        for function in _functions(router):
            if (other := functions.setdefault(function, name)) != name:
                raise ConfigurationError(
                    f"the slices {other!r} and {name!r} both answer with "
                    f"{function.__module__}.{function.__qualname__}: a router belongs to one "
                    "slice; take it out of `routes` of the other"
                )
        for route in sorted({*listed(router), *_included(router)}):
            if (other := routes.setdefault(route, name)) != name:
                raise ConfigurationError(
                    f"the slices {other!r} ({_modules(routers[other])}) and {name!r} "
                    f"({_modules(router)}) both have the route {route}: give the router of each "
                    "slice a prefix of its own"
                )


def listed(router: APIRouter) -> Iterator[str]:
    """Method and path of each route, such as `GET /parcels`, but not of routers in routers."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                yield f"{method} {route.path}"


def described(document: Mapping[str, Any]) -> set[str]:
    """Method and path of each route that an OpenAPI document has."""
    paths = document["paths"].items()
    return {f"{method.upper()} {path}" for path, methods in paths for method in methods}


def _included(router: APIRouter) -> set[str]:
    """Those of routers in routers, which some versions of FastAPI do not list."""
    if all(isinstance(route, APIRoute) for route in router.routes):
        return set()
    return described(get_openapi(title="", version="", routes=router.routes))


def _functions(router: APIRouter) -> Iterator[Callable[..., Any]]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route.endpoint
        elif isinstance(inner := getattr(route, "original_router", None), APIRouter):
            yield from _functions(inner)


def _modules(router: APIRouter) -> str:
    return ", ".join(sorted({each.__module__ for each in _functions(router)}))
