"""The list, and how it is gone through."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from readiness.causes import told_once
from readiness.check import Check, Result
from readiness.contracts.check import ReleasesShareTheSchema
from readiness.evidence import named_in, places_of
from readiness.examples import ExamplesReachTheCode
from readiness.filters import FiltersAreIndexed
from readiness.handlers import HandlersCanBeUndone
from readiness.idempotency import RetriesAreIdempotent
from readiness.keeping import RowsAreKeptAsDecided
from readiness.migrated import NoSchema
from readiness.modelled import TablesAreAsModelled
from readiness.personal import PersonalDataIsNamed
from readiness.reading import QueriesReadLittle
from readiness.rehearsal import Subject, prepare, rehearse
from readiness.reversibility import MigrationsAreReversible
from readiness.scratch import scratch_database
from readiness.tenants import TenantsAreKeptApart  # feature: row, rls, schema
from readiness.transactions import TransactionsAreExplicit
from readiness.visibility import DatabaseIsObservable
from readiness.waivers import Waived, apply

CHECKS: tuple[type[Check], ...] = (
    FiltersAreIndexed,
    TransactionsAreExplicit,
    RetriesAreIdempotent,
    DatabaseIsObservable,
    MigrationsAreReversible,
    ReleasesShareTheSchema,
    TablesAreAsModelled,
    QueriesReadLittle,
    HandlersCanBeUndone,
    ExamplesReachTheCode,
    RowsAreKeptAsDecided,
    PersonalDataIsNamed,
    TenantsAreKeptApart,  # feature: row, rls, schema
)


async def go_through(
    subject: Subject,
    checks: Sequence[type[Check]] = CHECKS,
    *,
    begins: Callable[[type[Check]], None] = lambda _: None,
    to_first: bool = False,
) -> list[Result]:
    """Carry out each check on a database of its own, so that none sees what another one did.

    Args:
        subject: what is inspected.
        checks: all of them, or some.
        begins: is called with each before it is carried out.
        to_first: no other is carried out after one that fails.

    Raises:
        ConfigurationError: the role of DATABASE_URL may not create databases.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    results, server, memory = list[Result](), subject.settings.session_url, dict[Any, Any]()
    with scratch_database(server) as pattern:
        broken = await _broken(subject, pattern)
        for check in checks:
            begins(check)
            like = pattern if check.migrated else ""
            if like and broken:
                about = (check.id, check.title(), check.advice())
                results.append(Result(*about, 0, (), why_not=str(broken)))
                continue
            with scratch_database(server, like=like) as url:
                results.append(await _carry_out(check(), subject, url, like, memory))
            if to_first and not results[-1].passed:
                break
    if all(each.passed for each in results):  # nobody has told of the cause
        return [replace(each, findings=(each.why_not,), why_not="") if each.why_not else each
                for each in results]  # fmt: skip
    return told_once(results)


async def _broken(subject: Subject, pattern: str) -> NoSchema | None:
    """Give the pattern the schema, once for all checks; returns why that cannot be done."""
    try:
        await asyncio.to_thread(prepare, subject, pattern)
    except NoSchema as error:
        return error
    return None


async def _carry_out(
    check: Check, subject: Subject, url: str, pattern: str, memory: dict[Any, Any]
) -> Result:
    """An error in a check is a finding of that check, and of no other."""
    findings, why_not, began = [], "", time.monotonic()
    waived, wrong, places = list[Waived](), list[str](), dict[str, str]()
    try:
        async with (
            rehearse(
                subject,
                url,
                whole=check.whole,
                migrated=False,
                pattern=pattern,
                memory=memory,
            ) as rehearsal,
            aclosing(check.inspect(rehearsal)) as found,
        ):
            places = places_of(rehearsal.service)
            async for finding in found:
                findings.append(finding)  # noqa: PERF401  # those before an error count
        findings, waived, wrong = apply(check.id, findings, subject.waivers)
    except NoSchema as error:
        why_not = str(error)
    except Exception as error:
        findings.append(f"the check itself ended with {error!r}")
    if not check.inspected and not why_not:
        findings.append("nothing to inspect")
    seconds = time.monotonic() - began
    return Result(
        check.id,
        check.title(),
        check.advice() if findings else "",
        check.inspected,
        (*findings, *wrong),
        seconds,
        why_not,
        tuple(waived),
        tuple(replace(each, place=places.get(each.query, "")) for each in check.plans),
        tuple(check.left_out),
        {each: place for each in findings if (place := named_in(each, places))},
    )
