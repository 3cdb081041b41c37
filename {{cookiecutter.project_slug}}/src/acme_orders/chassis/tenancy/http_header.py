# feature: http_api
"""The tenant of a request: a header that whoever authenticates requests has to set."""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.http.docs import PUBLIC
from acme_orders.chassis.http.problem import refusal
from acme_orders.chassis.tenancy.scope import tenant_id, tenant_scope

HEADER = "X-Tenant-ID"
_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "description": "Whose data this is about; whoever authenticates requests sets it.",
    "schema": {"type": "string", "format": "uuid"},
}


def ask_for_header(document: Mapping[str, Any]) -> None:
    """Say of each operation in a document of OpenAPI that it needs the header."""
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.setdefault("parameters", []).append(_PARAMETER)


def scoped_by_header(app: ASGIApp) -> ASGIApp:
    """Open the scope of the tenant around each request; refuse a request without one."""

    async def scoped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await app(scope, receive, send)
            return
        try:
            # Sent twice it is refused: nobody knows which of the two was checked.
            tenant = tenant_id(", ".join(Headers(scope=scope).getlist(HEADER)))
        except Malformed as error:
            answer = refusal(400, f"header {HEADER}: {error}", [(HEADER, str(error))])
            await answer(scope, receive, send)
            return
        with tenant_scope(tenant):
            await app(scope, receive, send)

    return scoped
