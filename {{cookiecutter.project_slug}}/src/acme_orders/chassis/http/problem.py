"""Refusals, in one form: application/problem+json (RFC 9457), with the fields that are wrong."""

import json
from collections.abc import Mapping, Sequence
from http.client import responses

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "5"}  # seconds; most outages that are noticed at all take longer
Flaws = Sequence[tuple[str, str]]  # a place such as `lines.0.sku`, and what is wrong there


def problem(status: int, detail: str, flaws: Flaws = ()) -> bytes:
    """The body of a refusal."""
    errors = [{"field": place, "detail": why} for place, why in flaws]
    told = {"type": "about:blank", "title": responses.get(status, "Refused"), "status": status}
    return json.dumps({**told, "detail": detail, "errors": errors}).encode()


def refusal(
    status: int, detail: str, flaws: Flaws = (), headers: Mapping[str, str] | None = None
) -> Response:
    """An answer in the form that all refusals have."""
    retry = RETRY_AFTER if status == 503 else {}  # noqa: PLR2004
    body = problem(status, detail, flaws)
    return Response(body, status, {**retry, **(headers or {})}, MEDIA_TYPE)


class Refused(Exception):
    """A request that the application does not get to see.

    Args:
        status: of the answer.
        detail: what is wrong, for the client.
        reason: a word for the metric.
        flaws: where it is wrong.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        reason: str,
        flaws: Flaws = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.reason = status, reason
        self.answer = refusal(status, detail, flaws, headers)
