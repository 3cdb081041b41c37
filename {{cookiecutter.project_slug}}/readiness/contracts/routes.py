# feature: http_api
"""What breaks the clients of a service, by its OpenAPI document.

What an operation takes is compared as one schema, and what it answers as another: parameters and
bodies, statuses and headers are the fields of it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from readiness.contracts.narrowing import Schema, Tree, narrowing, surprises

_VARIABLE = re.compile(r"\{[^}]*\}")


def broken_routes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What those who rely on the old document would send in vain, or miss in an answer.

    What is taken may be widened. Answers stay as they are; fields and statuses may be added.
    """
    before, after = _operations(old), _operations(new)
    for key, (what, operation) in before.items():
        if key not in after:
            yield what, "is gone"
            continue
        other = after[key][1]
        pairs = [
            (compare, Tree(form(operation), old), Tree(form(other), new))
            for compare, form in ((narrowing, _taken), (surprises, _answered))
        ]
        for compare, here, there in pairs:
            for place, why in dict(compare(here, there)).items():
                yield f"{what}: {place}", why
        if _admitted(other, new) not in ([], _admitted(operation, old)):
            yield f"{what}: security", "asks clients for what it did not ask them for"


def _operations(document: Mapping[str, Any]) -> Mapping[tuple[str, str], tuple[str, Any]]:
    """Each with its name, by method and path; clients do not see how a part of a path is named."""
    return {
        (method, _VARIABLE.sub("{}", path)): (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _taken(operation: Mapping[str, Any]) -> Schema:
    fields, required = dict[str, Any](), list[str]()
    place = 0
    for each in operation.get("parameters", ()):
        name = each["name"]
        if each["in"] == "path":
            name, place = str(place + 1), place + 1
        elif each["in"] == "header":
            name = name.lower()
        name = f"{each['in']} {name}"
        fields[name] = each.get("schema", {})
        if each.get("required"):
            required.append(name)
    if body := operation.get("requestBody"):
        fields["body"] = {"properties": _contents(body)}
        if body.get("required"):
            required.append("body")
    return {"properties": fields, "required": required}


def _answered(operation: Mapping[str, Any]) -> Schema:
    return {
        "properties": {
            status: {
                "properties": _contents(answer) | _headers(answer),
                "required": [
                    f"header {name.lower()}"
                    for name, each in answer.get("headers", {}).items()
                    if each.get("required")
                ],
            }
            for status, answer in operation["responses"].items()
        }
    }


def _contents(part: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: each.get("schema", {}) for kind, each in part.get("content", {}).items()}


def _headers(answer: Mapping[str, Any]) -> dict[str, Any]:
    headers = answer.get("headers", {}).items()
    return {f"header {name.lower()}": each.get("schema", {}) for name, each in headers}


def _admitted(operation: Mapping[str, Any], document: Mapping[str, Any]) -> list[Any]:
    """By what; none of it has to do with how the schemes are named."""
    schemes = document.get("components", {}).get("securitySchemes", {})
    return [
        [schemes.get(name) for name in one]
        for one in operation.get("security", document.get("security", ()))
    ]
