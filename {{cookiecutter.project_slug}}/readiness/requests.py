# feature: http_api
"""K3 over HTTP: what happens when a request comes again under its Idempotency-Key."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from acme_orders.chassis.errors import WriteOutsideTransaction
from acme_orders.chassis.http.keyed import HEADER, METHODS
from acme_orders.chassis.process.exchange import Reply, exchange

from readiness.rehearsal import Rehearsal
from readiness.two_tenants import TENANT  # feature: row, rls, schema

Growth = Callable[[Rehearsal], Coroutine[Any, Any, Any]]
_REFUSED = 400


@dataclass(frozen=True)
class Operation:
    """A route that changes something, as the OpenAPI document describes it."""

    method: str
    path: str
    description: Mapping[str, Any]
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def example(self) -> tuple[str, Any]:
        """Path and body of a request; raises LookupError if there are no examples to make it of."""
        path, query = self.path, []
        for each in self.description.get("parameters", ()):
            if each["required"] and each["in"] != "header":
                value = self._first(each, f"the parameter {each['name']}")
                path = path.replace(f"{{{each['name']}}}", str(value))
                query += [f"{each['name']}={value}"] if each["in"] == "query" else []
        body = self.description.get("requestBody")
        content = body and self._first(body["content"]["application/json"], "the body")
        return path + ("?" + "&".join(query) if query else ""), content

    def _first(self, about: Mapping[str, Any], what: str) -> Any:
        schema = about["schema"]
        if name := schema.get("$ref", "").rpartition("/")[2]:
            schema = self.document["components"]["schemas"][name]
        for found in (about, schema):
            examples = found.get("examples", [])
            for each in examples.values() if isinstance(examples, dict) else examples:
                return each["value"] if isinstance(examples, dict) else each
        raise LookupError(f"{what} has no example")


async def repeated(
    serial: Rehearsal, race: Rehearsal, contents: Growth, grown: Callable[[Any, Any], Any]
) -> AsyncGenerator[tuple[str, str], None]:
    """Each route that changes something, and what is wrong with it, if something is.

    Args:
        serial: where requests come one after the other.
        race: where they come at once.
        contents: of a database.
        grown: by how many rows tables have grown between two of them.
    """
    document = (await _ask(serial, "GET", "/openapi.json", None, None)).json
    for operation in _operations(document):
        try:
            request = (operation.method, *operation.example())
            empty, key = await contents(serial), str(uuid4())
            first = await _ask(serial, *request, key)
            once = await contents(serial)
            again, later = await _ask(serial, *request, key), await contents(serial)
            before = await contents(race)
            key = str(uuid4())
            pair = await asyncio.gather(*(_ask(race, *request, key) for _ in range(2)))
            after = await contents(race)
        except WriteOutsideTransaction:
            continue  # K2 tells of it
        except Exception as error:
            yield str(operation), f"cannot be tried: {error!r}"
            continue
        yield str(operation), ""
        if first.status >= _REFUSED:
            yield str(operation), f"the example is refused with {first.status}: {first.json}"
        if later != once:
            yield str(operation), f"the same {HEADER} again has its effects again"
        if again != first or pair[0] != pair[1]:
            yield str(operation), f"the same {HEADER} again gets another answer"
        if grown(before, after) != grown(empty, once):
            yield str(operation), "two requests at once leave other numbers of rows than one"


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, description in methods.items():
            if method.upper() in METHODS:
                yield Operation(method.upper(), path, description, document)


async def _ask(rehearsal: Rehearsal, method: str, path: str, body: Any, key: str | None) -> Reply:
    headers = {HEADER: key} if key else {}
    headers |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
    return await exchange(rehearsal.service, method, path, body, headers)
