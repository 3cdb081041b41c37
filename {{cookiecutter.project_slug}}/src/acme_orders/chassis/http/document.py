# feature: http_api
"""What the OpenAPI document says beside the routes of slices: refusals, and headers of requests."""

from collections.abc import Iterator, Mapping
from typing import Any

from acme_orders.chassis.http.explained import Problem
from acme_orders.chassis.http.keyed import HEADER, LONGEST, METHODS
from acme_orders.chassis.http.problem import MEDIA_TYPE, RETRY_AFTER

# For FastAPI, which would say of 422 that it has a form of FastAPI's own.
UNFIT: dict[int | str, dict[str, Any]] = {422: {"model": Problem, "description": "see below"}}
# What each request may be answered with, before a route sees it or after it has failed.
_ALWAYS = {
    "400": "No proper request, or a header that is not of its form",
    "403": "The tenant is not registered",  # feature: row, rls, schema
    "408": "The request did not come in time",
    "413": "The body is too large",
    "422": "A part of the request is not of its form, or cannot be stored; `errors` names it",
    "431": "The head of the request is too large",
    "500": "An error of the service",
    "503": "Not possible now: try again later",
}
_GUARDED = {"401": "Whoever asks has not said who they are", "403": "Whoever asks may not"}
_WITH_A_BODY = {"415": "The body is of another kind than the route takes"}
_OF_ONE = {"404": "There is none"}
_WRITING = {"409": "It contradicts what is stored, or its Idempotency-Key belongs to another one"}
_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "Chosen by the client, such as a new UUID for each thing that it wants done. Whoever "
        "repeats a request with its key gets its answer again, and nothing is done again. "
        "The same key with another request is refused with 409."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[!-~]+$"},
}
_LATER = {
    "description": "seconds",
    "required": True,
    "schema": {"type": "integer", "examples": [int(RETRY_AFTER["Retry-After"])]},
}
_HEADERS = {
    "401": {
        "WWW-Authenticate": {
            "description": "how to say it",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    "503": {"Retry-After": _LATER},
}
_AT_WORK = {
    "Retry-After": {
        **_LATER,
        "description": f"seconds, if the first request with this {HEADER} is still at work",
        "required": False,
    }
}
_SCHEME = "guard"
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def protect(document: dict[str, Any], scheme: Mapping[str, Any]) -> None:
    """Say of each operation by what it is admitted."""
    document.setdefault("components", {})["securitySchemes"] = {_SCHEME: dict(scheme)}
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["security"] = [{_SCHEME: []}]


def complete(document: dict[str, Any]) -> None:
    """Say of each operation what the chassis adds to it.

    What a route declares itself stays, such as `responses={410: {"description": "was erased"}}`; a
    refusal that it gives no form for has the form of all of them.
    """
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method.upper() in METHODS:
                operation.setdefault("parameters", []).append(_KEY)
            answers = operation["responses"]
            answers.pop("422", None)
            for status, why in _refusals(path, method, operation):
                answers.setdefault(status, {"description": why})
            for status, answer in answers.items():
                if status[0] in "45" and _is_plain(answer):
                    answer["content"] = _PROBLEM
            headers = _HEADERS | ({"409": _AT_WORK} if method.upper() in METHODS else {})
            for status in headers.keys() & answers.keys():
                answers[status].setdefault("headers", headers[status])
            operation["responses"] = dict(sorted(answers.items()))


def _refusals(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "security" in operation:
        yield from _GUARDED.items()
    yield from _ALWAYS.items()
    if "{" in path:
        yield from _OF_ONE.items()
    if "requestBody" in operation:
        yield from _WITH_A_BODY.items()
    if method.upper() not in {"GET", "HEAD"}:
        yield from _WRITING.items()


def _is_plain(answer: Mapping[str, Any]) -> bool:
    """Whether its form is not declared, or is that of all refusals."""
    content = answer.get("content", {})
    forms = [each.get("schema", {}).get("$ref", "") for each in content.values()]
    return all(each.rpartition("/")[2] == "Problem" for each in forms)
