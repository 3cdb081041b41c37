"""What operators cannot tell apart: statements and events without a name of their own."""

import ast
import inspect
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from acme_orders.chassis.database.queries import Queries
from acme_orders.chassis.database.reader import Reader
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.slice import Slice

from readiness.rehearsal import Rehearsal
from readiness.sources import Source
from readiness.watch import short

_SAYS = {"messages", "slice"}  # modules that say what there is, and do nothing
_REMEDY = "put @query(…) on the method, so that metrics, logs, `explain` and these checks know it"
_SEND = {
    name
    for kind in (Queries, Reader, Repository)
    for name, method in vars(kind).items()
    if inspect.iscoroutinefunction(method) and not name.startswith("_")
}


def nameless(rehearsal: Rehearsal, sent: Mapping[str, str]) -> Iterator[str]:
    """Every way around the names of queries.

    Args:
        rehearsal: of the service.
        sent: names under which statements were sent, and from where.
    """
    names = Counter(query.name for _, query, _ in rehearsal.queries())
    for name, times in names.items():
        if times > 1:
            yield f"{name} is the name of {times} queries: give each a name of its own"
    found = [
        finding
        for one in rehearsal.service.slices
        for each in one.repositories
        for finding in _without_name(type(each))
    ]
    yield from found
    files = {short(inspect.getfile(type(each))) for each, _, _ in rehearsal.queries()}
    for name, place in sent.items():
        # What others send themselves is for K2 to find.
        if name not in names and place.partition(":")[0] in files and not found:
            yield f"{place} sends a statement under {name!r}, the name of no query: {_REMEDY}"


def unannounced(slices: Iterable[Slice], published: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Events that no slice names, or of which it names another payload.

    Args:
        slices: of the service.
        published: type and body of events that were seen.
    """
    named = {event.name: event.payload for each in slices for event in each.publishes}
    found = dict[str, str]()
    for type_, body in published:
        if type_ not in named:
            found[type_] = (
                f"{type_} is published, and no slice names it: write Event({type_!r}, …) among its "
                "`publishes`, or documents, metrics and alerts know nothing of it"
            )
        elif differs := _differs(named[type_], json.loads(body)):
            found[type_] = (
                f"{type_} is published {differs}: name in Event({type_!r}, …) the payload that "
                "outbox.add gets, because others read what documents say of it"
            )
    yield from found.values()


def unpublished(
    slices: Iterable[Slice], published: Sequence[tuple[str, str]], modules: Sequence[Source]
) -> Iterator[str]:
    """Events that a slice names, and nothing publishes.

    Args:
        slices: of the service.
        published: type and body of events that were seen.
        modules: of the slices.
    """
    seen = {type_ for type_, _ in published}
    for name in (event.name for each in slices for event in each.publishes):
        named = {each.id for source in modules for each in _constants(source.tree, name)}
        used = any(
            {*named, name} & _used(each.tree) for each in modules if each.parts[-1] not in _SAYS
        )
        if name not in seen and named and not used:
            yield (
                f"{name} is named among the `publishes` of a slice, and nothing publishes it: call "
                "outbox.add where it happens, or take the Event away"
            )


def _constants(tree: ast.Module, value: str) -> Iterator[ast.Name]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.value, "value", None) == value:
            yield from (each for each in node.targets if isinstance(each, ast.Name))


def _used(tree: ast.Module) -> set[str]:
    """Every name and text in a module, beside its imports."""
    kinds = {ast.Name: "id", ast.Attribute: "attr", ast.Constant: "value"}
    found = (getattr(each, kinds.get(type(each), ""), "") for each in ast.walk(tree))
    return {each for each in found if isinstance(each, str)}


def _differs(kind: type[Payload], content: Any) -> str:
    """What is more or less in a body than this payload has; nothing if it is made elsewhere."""
    if kind.__pydantic_decorators__.model_serializers or not isinstance(content, dict):
        return ""
    names = {
        name: {name, field.alias, field.serialization_alias}
        for name, field in kind.model_fields.items()
    }
    left_out = {name for name, field in kind.model_fields.items() if field.exclude}
    known = {*chain.from_iterable(names.values()), *kind.model_computed_fields}
    less = [
        each for each in names if each not in left_out and content.keys().isdisjoint(names[each])
    ]
    more = [] if kind.model_config.get("extra") == "allow" else sorted(content.keys() - known)
    if less:
        return f"without {', '.join(less)}, which {kind.__name__} has"
    return f"with {', '.join(more)}, which {kind.__name__} has not" if more else ""


def _without_name(kind: type[Repository]) -> Iterator[str]:
    for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
        if name.startswith("_") or hasattr(method, "query") or name in vars(Repository):
            continue
        if name not in _SEND and _SEND & {*inspect.unwrap(method).__code__.co_names}:
            yield f"{kind.__name__}.{name} sends statements under no name: {_REMEDY}"
