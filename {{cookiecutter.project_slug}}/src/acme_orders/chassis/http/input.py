# feature: http_api
"""What a request brings, before a route sees it: decoded or refused at a bounded cost."""

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Scope

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.http.problem import Refused
from acme_orders.chassis.http.requests import LARGE
from acme_orders.chassis.messaging.decoder import Decoder
from acme_orders.chassis.messaging.json_text import parse

_JSON = re.compile(r"application/([^/]+\+)?json", re.IGNORECASE)
_BAD, _NUL = "malformed", "NUL, which PostgreSQL cannot store"


class Input:
    """Looks at requests for all routes.

    Args:
        largest_body: bytes; what a body may cost follows from it.
    """

    def __init__(self, largest_body: int) -> None:
        self._largest = largest_body
        self._any: Decoder[Any] = Decoder(Any)
        self._decoders: dict[Any, Decoder[Any]] = {}

    def inspect(self, scope: Scope, body: bytes) -> None:
        """Refuse what cannot be stored, or costs too much, whatever the route makes of it.

        FastAPI would take NaN and half of a surrogate pair, and fail with them later.

        Raises:
            Refused: with the name of what is wrong.
        """
        if "\x00" in scope["path"]:
            raise Refused(422, f"the path has {_NUL}", _BAD, [("path", f"has {_NUL}")])
        for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
            if "\x00" in name + value:
                place = f"query.{name[:100]!r}"
                raise Refused(422, f"{place} has {_NUL}", _BAD, [(place, f"has {_NUL}")])
        headers = Headers(scope=scope)
        if body and _is_json(headers):
            if headers.get("content-encoding", "identity").lower() != "identity":
                raise Refused(415, "JSON has to come as it is, without Content-Encoding", _BAD)
            try:
                self._any.inspect(body, largest=self._largest)
                parse(body)
            except Malformed as error:
                raise Refused(422, str(error), _BAD, error.places) from None

    async def check_body(self, request: Request) -> None:
        """Refuse a body that is not of the form which its route declares, if that is JSON.

        FastAPI alone would look at every element, and answer with all that is wrong with each.
        """
        field, body = request.scope["route"].body_field, await request.body()
        if field is None or not body or "json" not in field.field_info.media_type:
            return
        if "content-type" not in request.headers or not _is_json(request.headers):
            raise Refused(415, "the body has to be JSON: say Content-Type: application/json", _BAD)
        if (decoder := self._decoders.get(field)) is None:
            about = field.field_info
            decoder = self._decoders[field] = Decoder(Annotated[about.annotation, about])
        try:
            decoder.inspect(body, largest=self._largest)
            decoder.from_python(await request.json())
        except Malformed as error:
            raise Refused(422, str(error), _BAD, error.places) from None
        if len(body) > LARGE:
            await asyncio.sleep(0)


def _is_json(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type")
    # As FastAPI decides it, which takes all else for bytes, and tells of no object where one is.
    return kind is None or bool(_JSON.fullmatch(kind.partition(";")[0].strip()))
