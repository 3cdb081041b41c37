# feature: http_api
"""What breaks the clients of routes is found in the OpenAPI document, which is made from code."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described_routes import routes_of
from acme_orders.chassis.slice import Slice

from readiness.contracts.documents import KeptDocuments, documents_of
from readiness.contracts.routes import broken_routes
from tests.chassis.service import SERVICE

NAME = "openapi.json"
Document = dict[str, Any]


def forms(document: Document, name: str) -> Document:
    """The fields of a schema."""
    found: Document = document["components"]["schemas"][name]["properties"]
    return found


def post(document: Document) -> Document:
    """The operation with a body."""
    found: Document = document["paths"]["/sales"]["post"]
    return found


def limit(document: Document) -> Document:
    """A parameter of a query."""
    (found,) = (
        each for each in document["paths"]["/sales"]["get"]["parameters"] if each["name"] == "limit"
    )
    assert isinstance(found, dict)
    return found


def renamed(document: Document) -> None:
    """A part of a path has another name in the code."""
    operation = document["paths"].pop("/sales/{sale_id}")
    document["paths"]["/sales/{id}"] = operation
    operation["get"]["parameters"][0]["name"] = "id"


def needs(document: Document, form: str, field: str) -> None:
    """The form has a field more, that has to be there."""
    forms(document, form)[field] = {"type": "string"}
    document["components"]["schemas"][form]["required"].append(field)


FIELD = {"type": "string"}
BODY, ANSWER = "POST /sales: body.application/json", "GET /sales/{sale_id}: 200.application/json"
MORE = {"name": "state", "in": "query", "schema": FIELD}
# What becomes of the document, and what is found; nothing, if it may.
CHANGES: dict[str, tuple[Callable[[Document], Any], list[tuple[str, str]]]] = {
    "nothing": (lambda _: None, []),
    "other words": (lambda it: post(it).update(summary="New", operationId="new"), []),
    "a route more": (lambda it: it["paths"].update({"/x": deepcopy(it["paths"]["/sales"])}), []),
    "a route less": (
        lambda it: it["paths"].pop("/sales/{sale_id}"),
        [("GET /sales/{sale_id}", "is gone")],
    ),
    "a method less": (lambda it: it["paths"]["/sales"].pop("get"), [("GET /sales", "is gone")]),
    "another name in a path": (renamed, []),
    "a status less": (
        lambda it: post(it)["responses"].pop("409"),
        [("POST /sales: 409", "is gone")],
    ),
    "a status more": (lambda it: post(it)["responses"].update({"410": {}}), []),
    "a header less": (
        lambda it: post(it)["responses"]["503"].pop("headers"),
        [("POST /sales: 503.header retry-after", "is gone")],
    ),
    "a header more": (
        lambda it: post(it)["responses"]["413"].update(headers={"Retry-After": {"schema": {}}}),
        [],
    ),
    "an optional field of a body more": (
        lambda it: forms(it, "SaleForm").update(note=FIELD),
        [],
    ),
    "a required field of a body more": (
        lambda it: needs(it, "SaleForm", "note"),
        [(f"{BODY}.note", "is required")],
    ),
    "a field of a body less": (
        lambda it: forms(it, "SaleForm").pop("currency"),
        [(f"{BODY}.currency", "is gone")],
    ),
    "a narrower field deep in a body": (
        lambda it: forms(it, "SaleLine")["sku"].update(maxLength=10),
        [(f"{BODY}.lines[].sku", "maxLength was 100 and becomes 10")],
    ),
    "a wider field of a body": (lambda it: forms(it, "SaleForm")["currency"].pop("pattern"), []),
    "no body": (
        lambda it: post(it).pop("requestBody"),
        [("POST /sales: body", "is gone")],
    ),
    "a body where there was none": (
        lambda it: it["paths"]["/sales"]["get"].update(requestBody=post(it)["requestBody"]),
        [("GET /sales: body", "is required")],
    ),
    "a body of another kind": (
        lambda it: post(it)["requestBody"].update(content={"text/csv": {}}),
        [(BODY, "is gone")],
    ),
    "a field of an answer more": (lambda it: needs(it, "SaleDetails", "note"), []),
    "a field of an answer less": (
        lambda it: forms(it, "SaleDetails").pop("currency"),
        [(f"{ANSWER}.currency", "is gone")],
    ),
    "a field of an answer that may be missing": (
        lambda it: it["components"]["schemas"]["SaleDetails"]["required"].remove("currency"),
        [(f"{ANSWER}.currency", "is not always there")],
    ),
    "a field deep in an answer that may be null": (
        lambda it: forms(it, "LineDetails").update(sku={"anyOf": [FIELD, {"type": "null"}]}),
        [
            (
                f"{ANSWER}.lines[].sku",
                "may be what it never was: to the old form, null is refused",
            )
        ],
    ),
    "an optional parameter more": (
        lambda it: it["paths"]["/sales"]["get"]["parameters"].append(MORE),
        [],
    ),
    "a required parameter more": (
        lambda it: it["paths"]["/sales"]["get"]["parameters"].append({**MORE, "required": True}),
        [("GET /sales: query state", "is required")],
    ),
    "a parameter that is required now": (
        lambda it: limit(it).update(required=True),
        [("GET /sales: query limit", "is required")],
    ),
    "a narrower parameter": (
        lambda it: limit(it)["schema"].update(maximum=10),
        [("GET /sales: query limit", "maximum was 100 and becomes 10")],
    ),
    "a wider parameter": (lambda it: limit(it)["schema"].update(maximum=1000), []),
    "a parameter less": (
        lambda it: it["paths"]["/sales"]["get"]["parameters"].remove(limit(it)),
        [("GET /sales: query limit", "is gone")],
    ),
    "another form of a part of a path": (
        lambda it: it["paths"]["/sales/{sale_id}"]["get"]["parameters"][0].update(
            schema={"type": "integer"}
        ),
        [("GET /sales/{sale_id}: path 1", "was string and becomes integer")],
    ),
}


@pytest.fixture(scope="module")
def released() -> Document:
    """Of the service of these tests, made from its routes."""
    return routes_of(SERVICE)


@pytest.mark.parametrize("case", CHANGES)
def test_what_breaks_clients_is_found(released: Document, case: str) -> None:
    """What is taken may get wider, and what is answered may get more fields and statuses."""
    change, expected = CHANGES[case]
    now = deepcopy(released)
    change(now)
    assert list(broken_routes(released, now)) == expected


def test_a_guard_is_told_of_and_breaks_whoever_was_admitted_without(released: Document) -> None:
    """A document says by what requests are admitted, without a setting; none may be needed."""
    guard = SimpleNamespace(scheme={"type": "http", "scheme": "bearer"})
    now = routes_of(replace(SERVICE, guard=lambda _: guard))
    asks = "asks clients for what it did not ask them for"
    found = [each for each in broken_routes(released, now) if each[0].startswith("POST")]
    assert found == [("POST /sales: security", asks)]
    told = post(now)["responses"].keys() - post(released)["responses"].keys()
    assert "401" in told
    assert list(broken_routes(now, released)) == [
        (f"{operation}: {status}", "is gone")
        for operation in ("POST /sales", "GET /sales", "GET /sales/{sale_id}")
        for status in sorted(told)
    ]
    with pytest.raises(ConfigurationError, match="read settings when a request is admitted"):
        routes_of(replace(SERVICE, guard=attrgetter("of_nobody")))


def test_a_route_that_code_no_longer_has_is_told_of(tmp_path: Path) -> None:
    """From the code of the slices to what `make check` says, in the folder of the project."""
    kept, documents = KeptDocuments(tmp_path), documents_of(SERVICE)
    assert [each.split("/")[-1] for each in kept.write(documents)] == ["asyncapi.json", NAME]
    kept.release(documents)
    assert list(kept.findings(documents)) == []
    now = documents_of(replace(SERVICE, slices=(lambda _: Slice("sales", routes=APIRouter),)))
    stale, *broken = kept.findings({NAME: now[NAME]})
    assert f"{NAME} is not what the code says" in stale
    assert [each.split(":")[0] for each in broken] == [
        "POST /sales",
        "GET /sales",
        "GET /sales/{sale_id}",
    ]
    (tmp_path / NAME).unlink()
    (missing,) = kept.findings(documents)
    assert missing == f"{tmp_path / NAME} is missing: `make contracts-update` writes it"
