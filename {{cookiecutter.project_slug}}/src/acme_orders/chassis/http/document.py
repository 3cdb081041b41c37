# feature: http_api
"""What the OpenAPI document says beside the routes of slices: refusals, and headers of requests."""

from typing import Any

from acme_orders.chassis.http.explained import Problem
from acme_orders.chassis.http.keyed import HEADER, LONGEST, METHODS
from acme_orders.chassis.http.problem import MEDIA_TYPE

# For FastAPI, which takes the form of an answer to be application/json.
ANSWERS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "Refused: the body says why, and which fields"},
    "5XX": {"model": Problem, "description": "Not possible now, or an error of the service"},
}
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


def complete(document: dict[str, Any]) -> None:
    """Say of each operation what the chassis adds to it."""
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method.upper() in METHODS:
                operation.setdefault("parameters", []).append(_KEY)
            for status, answer in operation["responses"].items():
                if status in ANSWERS and "application/json" in answer["content"]:
                    answer["content"] = {MEDIA_TYPE: answer["content"]["application/json"]}
