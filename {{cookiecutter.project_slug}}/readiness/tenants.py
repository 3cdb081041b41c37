# feature: row, rls, schema
"""N1: what one tenant can see and change of another."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextvars import Context
from itertools import zip_longest
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.repository import Query, Repository
from acme_orders.chassis.tenancy.guard import judged, tenant_tables
from acme_orders.chassis.tenancy.registry import Tenants
from acme_orders.chassis.tenancy.scope import NoTenant, work_for

from readiness.check import Check
from readiness.given import give
from readiness.migrated import migrate  # feature: schema
from readiness.rehearsal import Rehearsal
from readiness.tenant_catalog import holes, owned_by
from readiness.two_tenants import OTHER, TENANT
from readiness.watch import told


class TenantsAreKeptApart(Check):
    """Tenants are kept apart."""

    id = "N1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Begin every query with its model, and every table with the tenant.

        SQL that is written by hand says `tenant_id = %s`, joined by AND. What works for all tenants
        at once belongs in a repository with `across_tenants = True`.
        """
        registered = [each for each in rehearsal.queries() if not each[0].across_tenants]
        for repository, query, method in registered:
            self.inspected += 1
            async for finding in _without_scope(rehearsal, repository, query, method):
                yield finding
        own = await _fill(rehearsal, TENANT)
        # What writes comes last: its effects, if they come again, are no rows of another tenant.
        registered.sort(key=lambda each: each[1].writes)
        reads = [each for each in registered if not each[1].writes]
        alone = [await _result(rehearsal, *each) for each in reads]
        Tenants(rehearsal.url).add(OTHER, "other")
        migrations = rehearsal.subject.migrations  # feature: schema
        await asyncio.to_thread(migrate, migrations, rehearsal.url)  # feature: schema
        lost = await _fill(rehearsal, OTHER)
        tables = tenant_tables()
        for each, without_other in zip_longest(registered, alone):
            seen, before = len(rehearsal.statements), await _owned(rehearsal)
            result, name = await _result(rehearsal, *each), each[1].name
            if not each[1].writes and isinstance(result, Exception):
                yield f"{name} shows nothing of what it reads: its example ends with {result!r}"
            elif not each[1].writes and result != without_other:
                yield f"{name} reads what belongs to another tenant"
            if await _owned(rehearsal) != before:
                yield f"{name} changes what belongs to another tenant"
            for statement in rehearsal.statements[seen:]:
                filled = bool(statement.parameters)
                for violation in judged(statement.sql, tables, filled=filled).problems:
                    yield f"{name}: {violation}"
        for hole in await asyncio.to_thread(_holes, rehearsal.url) or _refused(own, lost):
            yield hole


async def _without_scope(
    rehearsal: Rehearsal, repository: Repository, query: Query, method: str
) -> AsyncGenerator[str, None]:
    """A query that nobody has said a tenant for is refused before anything is sent."""
    seen = len(rehearsal.statements)

    async def call() -> None:
        async with rehearsal.service.manager.transaction("readiness"):
            await getattr(repository, method)(**query.example)

    try:
        await asyncio.get_running_loop().create_task(call(), context=Context())
    except NoTenant:
        pass
    except Exception as error:
        yield f"{query.name} without a tenant raises {error!r}"
    else:
        yield f"{query.name} works without a tenant"
    if len(rehearsal.statements) > seen:
        yield f"{query.name} sends SQL before it finds that there is no tenant"


async def _fill(rehearsal: Rehearsal, tenant: UUID) -> list[Exception]:
    """The same data for each tenant, whatever examples need and lead to; returns what failed."""
    seen = len(rehearsal.watch.failures)
    await asyncio.to_thread(give, rehearsal.service, rehearsal.url, tenant=tenant)
    work_for(None)
    for number, type_ in enumerate(rehearsal.service.handlers):
        await rehearsal.service.consumer.process(
            [rehearsal.letter(type_, f"tenants-{number}", tenant=tenant)]
        )
    for repository, query, method in rehearsal.queries():
        if query.writes and not repository.across_tenants:
            await _result(rehearsal, repository, query, method, tenant=tenant)
    return rehearsal.watch.failures[seen:]


async def _result(
    rehearsal: Rehearsal,
    repository: Repository,
    query: Query,
    method: str,
    *,
    tenant: UUID = TENANT,
) -> Any:
    """What a query returns for a tenant, committed, or the error that it ends with."""
    work_for(tenant)
    try:
        async with rehearsal.service.manager.transaction("readiness"):
            return await getattr(repository, method)(**query.example)
    except Exception as error:
        return error


async def _owned(rehearsal: Rehearsal) -> Any:
    return await asyncio.to_thread(owned_by, rehearsal.url, OTHER)


def _holes(url: str) -> list[str]:
    return list(holes(url))


def _refused(own: Sequence[Exception], others: Sequence[Exception]) -> list[str]:
    """That only one of two tenants can store something."""
    says = "what is stored for one tenant cannot be for another"
    return [f"{says}: {told(others[0])}"] if len(others) > len(own) else []
