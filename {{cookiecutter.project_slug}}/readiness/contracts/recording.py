"""Calls every registered query with its example, and writes down what it sends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from acme_orders.chassis import errors
from acme_orders.chassis.database.explain import explainable
from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.database.undone import undone
from acme_orders.chassis.errors import DatabaseError
from acme_orders.chassis.tenancy.scope import work_for  # feature: row, rls, schema

from readiness.contracts.contract import Contract, Sent
from readiness.contracts.description import Describer
from readiness.contracts.stable import Stable
from readiness.rehearsal import Rehearsal
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_CHASSIS = f"{errors.__package__}."
Calls = dict[str, list[Statement]]


@dataclass
class Recording:
    """What has been written down, in the order of the source, and what could not be."""

    contracts: list[Contract] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def record(rehearsal: Rehearsal) -> Recording:
    """The contracts of all registered queries.

    The queries of a repository are called one after the other in one transaction, which is rolled
    back: each finds what those above it have written with their examples. All of it is done twice,
    to tell what is the same in each run.
    """
    recording, describer = Recording(), Describer(rehearsal.service.manager)
    for repository in rehearsal.service.repositories:
        work_for(None if repository.across_tenants else TENANT)  # feature: row, rls, schema
        first, second = [await _calls(rehearsal, repository, recording) for _ in range(2)]
        async with undone(rehearsal.service.manager, "contracts"):
            await describer.prepare()
            stable = Stable()
            for query, _ in repository.queries():
                pairs = list(_alike(query, first, second, recording))
                sent = await _described(describer, query, pairs, stable, recording)
                if sent is not None and query.name in first:
                    recording.contracts.append(_contract(repository, query, sent))
    recording.failures = list(dict.fromkeys(recording.failures))
    return recording


async def _calls(rehearsal: Rehearsal, repository: Repository, recording: Recording) -> Calls:
    calls: Calls = {}
    manager = rehearsal.service.manager
    async with undone(manager, "contracts"):
        for query, method in repository.queries():
            seen = len(rehearsal.statements)
            try:
                async with manager.savepoint():
                    await getattr(repository, method)(**query.example)
            except Exception as error:
                recording.failures.append(
                    f"{query.name} has no contract: it fails with its example: {error!r}; "
                    "correct the example in @query(…)"
                )
                continue
            sent = rehearsal.statements[seen:]
            calls[query.name] = [each for each in sent if explainable(each.sql)]
    return calls


def _alike(
    query: Query, first: Calls, second: Calls, recording: Recording
) -> Iterator[tuple[Statement, Statement]]:
    """The statements of two calls side by side."""
    one, other = first.get(query.name, []), second.get(query.name, [])
    if [each.sql for each in one] != [each.sql for each in other]:
        recording.failures.append(
            f"{query.name} has no contract: it sends other SQL each time; write values as "
            "parameters, and sort what comes from a set"
        )
        return
    yield from zip(one, other, strict=True)


async def _described(
    describer: Describer,
    query: Query,
    pairs: Sequence[tuple[Statement, Statement]],
    stable: Stable,
    recording: Recording,
) -> list[Sent] | None:
    try:
        return [await describer.describe(one, other, stable) for one, other in pairs]
    except (DatabaseError, ValueError) as error:
        recording.failures.append(f"{query.name} has no contract: {error}")
        return None


def _contract(repository: Repository, query: Query, sent: Sequence[Sent]) -> Contract:
    return Contract(
        name=query.name,
        repository=type(repository).__name__,
        chassis=type(repository).__module__.startswith(_CHASSIS),
        across_tenants=repository.across_tenants,  # feature: row, rls, schema
        traffic=query.traffic,
        writes=query.writes,
        statements_per_call=len(sent),
        statements=sent,
    )
