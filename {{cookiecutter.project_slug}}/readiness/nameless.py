"""What operators cannot tell apart: statements and events without a name of their own."""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from acme_orders.chassis.database.queries import Queries
from acme_orders.chassis.database.reader import Reader
from acme_orders.chassis.database.repository import Repository

from readiness.rehearsal import Rehearsal
from readiness.watch import short

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


def unannounced(rehearsal: Rehearsal, published: Sequence[str]) -> Iterator[str]:
    """Events that no slice names.

    Args:
        rehearsal: of the service.
        published: the types of events that were seen.
    """
    named = {event.name for each in rehearsal.service.slices for event in each.publishes}
    for type_ in published:
        if type_ not in named:
            yield (
                f"{type_} is published, and no slice names it: write Event({type_!r}, …) among its "
                "`publishes`, or documents, metrics and alerts know nothing of it"
            )


def _without_name(kind: type[Repository]) -> Iterator[str]:
    for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
        if name.startswith("_") or hasattr(method, "query") or name in vars(Repository):
            continue
        if name not in _SEND and _SEND & {*inspect.unwrap(method).__code__.co_names}:
            yield f"{kind.__name__}.{name} sends statements under no name: {_REMEDY}"
