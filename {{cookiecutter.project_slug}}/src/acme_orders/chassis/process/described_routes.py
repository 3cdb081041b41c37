# feature: http_api
"""What a service says of its routes without servers: the OpenAPI document."""

from typing import Any

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described import unconnected, unset, version_of
from acme_orders.chassis.slice import Definition


def routes_of(definition: Definition[Any]) -> dict[str, Any]:
    """The document; raises ConfigurationError."""
    # FastAPI is half of all that is imported, and most commands do without.
    from acme_orders.chassis.http.application import application  # noqa: PLC0415

    try:
        guard = definition.guard(unset(definition)) if definition.guard else None
        scheme = guard.scheme if guard else None
    except AttributeError as error:
        raise ConfigurationError(
            f"the guard cannot say its scheme: {error}; read settings when a request is admitted, "
            "not before"
        ) from error
    routers = {each.name: each.routes() for each in unconnected(definition) if each.routes}
    made = application(definition.title, version_of(definition), routers, scheme=scheme)
    return dict(made.document)
