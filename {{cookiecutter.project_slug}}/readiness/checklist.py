"""The list, and how it is gone through."""

from collections.abc import Sequence
from contextlib import aclosing

from readiness.check import Check, Result
from readiness.contracts.check import ReleasesShareTheSchema
from readiness.filters import FiltersAreIndexed
from readiness.idempotency import RetriesAreIdempotent
from readiness.rehearsal import Subject, rehearse
from readiness.reversibility import MigrationsAreReversible
from readiness.scratch import scratch_database
from readiness.tenants import TenantsAreKeptApart  # feature: row, rls, schema
from readiness.transactions import TransactionsAreExplicit
from readiness.visibility import DatabaseIsObservable

CHECKS: tuple[type[Check], ...] = (
    FiltersAreIndexed,
    TransactionsAreExplicit,
    RetriesAreIdempotent,
    DatabaseIsObservable,
    MigrationsAreReversible,
    ReleasesShareTheSchema,
    TenantsAreKeptApart,  # feature: row, rls, schema
)


async def go_through(subject: Subject, checks: Sequence[type[Check]] = CHECKS) -> list[Result]:
    """Carry out each check on a database of its own, so that none sees what another one did.

    Raises:
        ConfigurationError: the role of DATABASE_URL may not create databases.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    results = []
    for check in checks:
        with scratch_database(subject.settings.database_url) as url:
            results.append(await _carry_out(check(), subject, url))
    return results


async def _carry_out(check: Check, subject: Subject, url: str) -> Result:
    """An error in a check is a finding of that check, and of no other."""
    findings = []
    try:
        async with (
            rehearse(subject, url, whole=check.whole) as rehearsal,
            aclosing(check.inspect(rehearsal)) as found,
        ):
            async for finding in found:
                findings.append(finding)  # noqa: PERF401  # those before an error count
    except Exception as error:
        findings.append(f"the check itself ended with {error!r}")
    if not check.inspected:
        findings.append("nothing to inspect")
    return Result(check.id, check.title(), check.advice(), check.inspected, tuple(findings))
