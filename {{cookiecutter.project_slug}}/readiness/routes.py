# feature: http_api
"""Each route, asked as its OpenAPI document describes it, so that what it calls is seen."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.process.exchange import Reply, exchange

from readiness.rehearsal import Rehearsal
from readiness.seeded import Sent
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from readiness.watch import WRITE

_BROKEN = 500
_FORMATS = {
    "uuid": "00000000-0000-0000-0000-000000000001",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
}
_PLAIN = (str, int, date, UUID)  # what can stand in a path
_TYPES = {"integer": "1", "number": "1", "boolean": "true", "string": "x"}


@dataclass(frozen=True)
class Operation:
    """A route with its method.

    Args:
        method: GET, POST and so on.
        path: with the names of its parameters in braces.
        description: its part of the OpenAPI document.
        document: all of it.
        known: values of parameters by their names, where the document has no example.
    """

    method: str
    path: str
    description: Mapping[str, Any]
    document: Mapping[str, Any]
    known: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def example(self, *also: str) -> tuple[str, Any]:
        """Path and body of a request.

        Args:
            also: parameters of the query that it could do without.

        Raises:
            LookupError: there are no examples to make it of.
        """
        path, query = self.path, []
        for each in self.description.get("parameters", ()):
            name = each["name"]
            if each["in"] != "header" and (each["required"] or name in also):
                value = self._value(each)
                path = path.replace(f"{{{name}}}", str(value))
                query += [f"{name}={value}"] if each["in"] == "query" else []
        body = self.description.get("requestBody")
        content = body and self._first(body["content"]["application/json"], "the body")
        return path + ("?" + "&".join(query) if query else ""), content

    def examples(self) -> Iterator[tuple[str, Any]]:
        """Requests with what it must have, and one more with each parameter that it may have."""
        yield self.example()
        for each in self.description.get("parameters", ()):
            if each["in"] == "query" and not each["required"]:
                yield self.example(each["name"])

    def behind(self, others: Sequence["Operation"], path: str) -> str:
        """The route that takes this path because it comes before this one; empty if none does."""
        for each in others:
            if each is self:
                break
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(each.path))
            if each.method == self.method and re.fullmatch(pattern, path.partition("?")[0]):
                return str(each)
        return ""

    def _value(self, parameter: Mapping[str, Any]) -> Any:
        name = parameter["name"]
        try:
            return self._first(parameter, f"the parameter {name}")
        except LookupError:
            if name in self.known:
                return self.known[name]
            whole = parameter["schema"]
            for schema in map(self._followed, (whole, *whole.get("anyOf", ()))):
                kinds = schema.get("format", ""), schema.get("type", "")
                if made := _FORMATS.get(kinds[0]) or _TYPES.get(kinds[1]):
                    return schema.get("enum", [schema.get("minimum", made)])[0]
            raise

    def _followed(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        found: Mapping[str, Any] = self.document["components"]["schemas"][name] if name else schema
        return found

    def _first(self, about: Mapping[str, Any], what: str) -> Any:
        for found in (about, self._followed(about["schema"])):
            examples = found.get("examples", [])
            for each in examples.values() if isinstance(examples, dict) else examples:
                return each["value"] if isinstance(examples, dict) else each
        raise LookupError(f"{what} has no example")


async def operations(rehearsal: Rehearsal) -> list[Operation]:
    """Each route of the API with each of its methods."""
    document = (await ask(rehearsal, "GET", "/openapi.json", None)).json
    known = _known(rehearsal)
    return [
        Operation(method.upper(), path, description, document, known)
        for path, methods in document["paths"].items()
        for method, description in methods.items()
    ]


async def ask(
    rehearsal: Rehearsal,
    method: str,
    path: str,
    body: Any,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a request, without a socket."""
    headers = dict(headers or {})
    headers["X-Tenant-ID"] = str(TENANT)  # feature: row, rls, schema
    return await exchange(rehearsal.service, method, path, body, headers)


async def rehearse_routes(
    rehearsal: Rehearsal,
) -> tuple[Mapping[str, str], list[tuple[str, str]], list[str]]:
    """Ask every route, after the handlers have stored what their examples lead to.

    Returns:
        Which route has called which query of a slice; the routes that could not be tried or whose
        queries are as rare as they are, and why; what one of them commits without its events.
    """
    callers, left_out, torn = dict[str, str](), list[tuple[str, str]](), dict[str, None]()
    slices = [each for one in rehearsal.service.slices for each in one.repositories]
    names = {query.name for repository, query, _ in rehearsal.queries() if repository in slices}
    for operation in await operations(rehearsal):
        seen = len(rehearsal.statements)
        if rare := str(operation.description.get("x-rare", "")).strip():
            left_out.append((str(operation), f"is rare, as its route says: {rare}"))
        try:
            for path, body in operation.examples():
                began = len(rehearsal.statements)
                reply = await ask(rehearsal, operation.method, path, body)
                torn |= dict.fromkeys(_torn(operation, rehearsal.statements[began:]))
                if reply.status >= _BROKEN:
                    left_out.append((str(operation), f"{path} is answered with {reply.status}"))
        except Exception as error:
            left_out.append((str(operation), f"cannot be tried: {error!r}"))
        for each in rehearsal.statements[seen:]:
            if each.query in names and not rare:
                callers.setdefault(each.query, str(operation))
    return callers, left_out, list(torn)


def _torn(operation: Operation, statements: Sequence[Statement]) -> Iterator[str]:
    """Writes of one request and its events in different transactions."""
    events = {query.name for query, _ in Outbox.queries()}
    written = [each for each in statements if each.unit_of_work and WRITE.search(each.sql)]
    added = {each.unit_of_work for each in written if each.query in events}
    stored = {each.unit_of_work for each in written if each.query not in events}
    if added and stored and not added & stored:
        yield (
            f"{operation} stores rows in the transaction {_named(stored)}, and its events in "
            f"{_named(added)}: if the process ends between them, one is there without the other. "
            "Do both in one"
        )


def _named(units: Iterable[str | None]) -> str:
    return ", ".join(sorted(map(repr, units)))


async def sent_by_routes(rehearsal: Rehearsal) -> Sequence[Sent]:
    """What each route sends for one request; K3 tells of those that fail."""
    sent = list[Sent]()
    for operation in await operations(rehearsal):
        with suppress(Exception):
            for path, body in operation.examples():
                seen = len(rehearsal.statements)
                await ask(rehearsal, operation.method, path, body)
                sent.append((str(operation), rehearsal.statements[seen:]))
    return sent


def or_rare(caller: str) -> str:
    """What else to do about a query that is called too often to be rare, if a route calls it."""
    if " " not in caller:
        return ""
    return (
        f', or, if {caller} itself is rare, openapi_extra={{"x-rare": "why"}} where it is declared'
    )


def _known(rehearsal: Rehearsal) -> dict[str, Any]:
    """What examples of messages and queries call by the name of a parameter."""
    found: dict[str, Any] = {}
    for each in rehearsal.service.handlers.values():
        with suppress(LookupError):  # K3 tells of a payload without an example
            for example in each.payload.examples():
                found = {**example, **found}
    for _, query, _ in rehearsal.queries():
        found = {**query.example, **found}
    return {name: each for name, each in found.items() if isinstance(each, _PLAIN)}
