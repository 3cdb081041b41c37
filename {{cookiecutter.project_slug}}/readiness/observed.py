"""One run of all that the service does, on which several checks rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from readiness.logged import complaints, of_people, recorded
from readiness.rehearsal import Rehearsal
from readiness.routes import rehearse_routes  # feature: http_api
from readiness.seeded import rehearse_handlers

_PUBLISHED = "SELECT DISTINCT type, body FROM outbox ORDER BY type, body"


@dataclass(frozen=True)
class Observed:
    """What handlers with all their examples, then routes, and then queries were seen to do.

    Args:
        callers: who has called which query: a type of message, or a route.
        untried: routes that could not be asked, or do not count, and why.
        acts: what was done inside transactions beside their statements.
        named: where the first statement under each name was sent.
        failures: what the transactions of routes ended with.
        published: type and body of the events that were put into the outbox.
        torn: what routes commit apart from its events.
        logged: data of people that stands in the log, and in which record.
    """

    callers: Mapping[str, str]
    untried: Sequence[tuple[str, str]]
    acts: Sequence[str]
    named: Mapping[str, str]
    failures: Sequence[Exception]
    published: Sequence[tuple[str, str]]
    torn: Sequence[str]
    logged: Sequence[str]


async def observed(rehearsal: Rehearsal) -> Observed:
    """What was seen on a database of its own; the first check that asks waits for it."""
    known = rehearsal.memory.get(observed)
    if not isinstance(known, Observed):
        async with rehearsal.another() as another:
            with recorded() as log:
                found = await _observed(another)
            logged = [*complaints(log, await of_people(another))]
            known = rehearsal.memory[observed] = replace(found, logged=logged)
    return known


async def _observed(rehearsal: Rehearsal) -> Observed:
    watch = rehearsal.watch
    callers, untried, torn = dict[str, str](), list[tuple[str, str]](), list[str]()
    for type_, sent in await rehearse_handlers(rehearsal):
        for each in sent:
            callers.setdefault(each.query, type_)
    seen = len(watch.failures)
    # feature: http_api {
    asked, untried, torn = await rehearse_routes(rehearsal)
    callers = {**asked, **callers}
    # feature: http_api }
    failures = watch.failures[seen:]
    for repository, query, method in rehearsal.queries():
        await rehearsal.call(repository, query, method)
    published = [(type_, body) for type_, body in await rehearsal.rows(_PUBLISHED)]
    acts, named = list(watch.acts), watch.named
    return Observed(callers, untried, acts, named, failures, published, torn, [])
