# feature: http_api
"""What errors are answered with."""

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from acme_orders.chassis.database.failures import is_permanent
from acme_orders.chassis.errors import (
    BadCursor,
    Conflict,
    ConstraintViolated,
    DatabaseError,
    DatabaseUnavailable,
    MessageError,
    ServiceError,
    StatementTimeout,
)
from acme_orders.chassis.http.problem import Refused, refusal
from acme_orders.chassis.messaging.decoder import SHOWN, wrong
from acme_orders.chassis.tenancy.scope import UnknownTenant  # feature: row, rls, schema

FAILED = "this is an error of the service; its log says more"
_UNFIT = 422
# The first that fits; anything else is a bug, and a 500.
_STATUS: tuple[tuple[type[ServiceError], int], ...] = (
    (DatabaseUnavailable, 503),
    (StatementTimeout, 503),
    (Conflict, 503),
    (ConstraintViolated, 409),
    (BadCursor, _UNFIT),
    (UnknownTenant, 403),  # feature: row, rls, schema
    (MessageError, 400),
    (DatabaseError, _UNFIT),  # with SQLSTATE 22: a value that does not fit its type
)


class Flaw(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="such as `lines.0.sku`, `query.limit` or the name of a header")
    detail: str = Field(description="what is wrong with it")


class Problem(BaseModel):
    """The form of every answer with a status of 400 or more (RFC 9457)."""

    type: str = Field(description="`about:blank`: the status says what kind of problem it is")
    title: str = Field(description="the name of the status")
    status: int = Field(description="the status, for whoever sees only the body")
    detail: str = Field(description="what is wrong")
    errors: list[Flaw] = Field(description="the first fields that are wrong, if it is about fields")


def explained(error: Exception) -> Response | None:
    """What a client is told of an error; None if it says nothing about what the client has sent."""
    if isinstance(error, Refused):
        return error.answer
    if isinstance(error, BadCursor):
        return refusal(_UNFIT, f"query.cursor: {error}", [("query.cursor", str(error))])
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
    if status is None or (isinstance(error, DatabaseError) and _is_ours(error, status)):
        return None
    # What PostgreSQL says of its own trouble is for the log, not for a client.
    detail = "try again later" if status == 503 else str(error)  # noqa: PLR2004
    return refusal(status, detail, getattr(error, "places", ()))


async def _explain(_: Request, error: Exception) -> Response:
    if (response := explained(error)) is None:
        raise error
    return response


async def _unfit(_: Request, error: Any) -> Response:
    """What FastAPI found wrong."""
    found = [(each["loc"], each["msg"]) for each in error.errors()[:SHOWN]]
    refused = wrong((place[place[0] == "body" :], reason) for place, reason in found)
    return refusal(_UNFIT, str(refused), refused.places)


async def _say(request: Request, error: Any) -> Response:
    headers = error.headers
    if error.status_code == 405 and (allowed := _allowed(request)):  # noqa: PLR2004
        headers = {**(headers or {}), "Allow": allowed}
    return refusal(error.status_code, str(error.detail), headers=headers)


async def _fail(_: Request, __: Exception) -> Response:
    return refusal(500, FAILED)


HANDLERS: dict[Any, Any] = {
    **dict.fromkeys((Refused, *(kind for kind, _ in _STATUS)), _explain),
    RequestValidationError: _unfit,
    HTTPException: _say,
    Exception: _fail,
}


def _allowed(request: Request) -> str:
    """The methods of a path; each has a route of its own, and Starlette names those of one."""
    paths, asked = request.app.openapi()["paths"], request.scope["path"]
    found = (each for path, each in paths.items() if compile_path(path)[0].match(asked))
    return ", ".join(sorted({method.upper() for methods in found for method in methods}))


def _is_ours(error: DatabaseError, status: int) -> bool:
    """Whether it says nothing about what the client has sent."""
    if status == _UNFIT and not is_permanent(error):
        return True
    return error.own and status < 500  # noqa: PLR2004
