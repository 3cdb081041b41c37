# feature: http_api
"""The HTTP API: the routes of every slice, and what surrounds each request."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.database.manager import Manager
from acme_orders.database.tenancy import UnknownTenant  # feature: row, rls, schema
from acme_orders.errors import (
    Conflict,
    ConstraintViolated,
    DatabaseUnavailable,
    MessageError,
    ServiceError,
    StatementTimeout,
)
from acme_orders.messaging.outbox import Outbox
from acme_orders.orders.api import router
from acme_orders.orders.repository import Orders
from acme_orders.tenant_header import scoped_by_header  # feature: row, rls, schema

# The first that fits; anything else is a bug, and a 500.
STATUS: tuple[tuple[type[ServiceError], int], ...] = (
    (DatabaseUnavailable, 503),
    (StatementTimeout, 503),
    (Conflict, 503),
    (ConstraintViolated, 409),
    (UnknownTenant, 403),  # feature: row, rls, schema
    (MessageError, 400),
)
RETRY_AFTER = "5"  # seconds; most outages that are noticed at all take longer than one


def api(manager: Manager, orders: Orders, outbox: Outbox) -> ASGIApp:
    """The application of the API port."""
    app = FastAPI(title="Acme Orders")
    app.include_router(router(manager=manager, orders=orders, outbox=outbox))
    for error, _ in STATUS:
        app.add_exception_handler(error, _explain)

    @scoped_by_header  # feature: row, rls, schema
    async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
        """One connection for each request, given back whatever happens to it."""
        if scope["type"] != "http" or not scope["path"].startswith("/orders"):
            await app(scope, receive, send)
            return
        try:
            async with manager.connection():
                await app(scope, receive, send)
        except DatabaseUnavailable as error:  # no connection: the application has not begun
            refusal = await _explain(Request(scope), error)
            await refusal(scope, receive, send)

    return with_connection


async def _explain(_: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    # What PostgreSQL says of its own trouble is for the log, not for a client.
    detail = "try again later" if status == 503 else str(error)  # noqa: PLR2004
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None  # noqa: PLR2004
    return JSONResponse({"detail": detail}, status, headers)
