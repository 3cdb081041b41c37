# feature: row, rls, schema
"""The tenant of a request: a header that whoever authenticates requests has to set."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.tenancy.scope import tenant_id, tenant_scope

HEADER = "X-Tenant-ID"
_PUBLIC = ("/docs", "/openapi.json", "/redoc")


def scoped_by_header(app: ASGIApp) -> ASGIApp:
    """Open the scope of the tenant around each request; refuse a request without one."""

    async def scoped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_PUBLIC):
            await app(scope, receive, send)
            return
        try:
            # Sent twice it is refused: nobody knows which of the two was checked.
            tenant = tenant_id(", ".join(Headers(scope=scope).getlist(HEADER)))
        except Malformed as error:
            refusal = JSONResponse({"detail": f"header {HEADER}: {error}"}, 400)
            await refusal(scope, receive, send)
            return
        with tenant_scope(tenant):
            await app(scope, receive, send)

    return scoped
