"""What was to go and is still there, dry or for good: counts, and findings."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.closure import Reference, references
from acme_orders.chassis.retention.finding import (
    EXPIRED,
    NEVER_RUN,
    ORPHANED,
    OVERDUE,
    UNFIT,
    UNKNOWN,
    Finding,
)
from acme_orders.chassis.retention.holds import Holds, nobody
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.runner import APPLICATION
from acme_orders.chassis.retention.survey import Site, survey
from acme_orders.chassis.retention.target import quoted

_MOST = 100_000  # rows; what is wrong is wrong with fewer as well
_TOO_LONG = {"57014", "55P03"}  # a statement, or the wait for a lock
_LAST = """
SELECT extract(epoch FROM clock_timestamp() - max(ended_at) FILTER (WHERE state = 'ok'))::float8,
    (SELECT format('%%s: %%s', state, error) FROM public.retention_run AS last
        WHERE last.policy = %s AND state <> 'running' ORDER BY started_at DESC LIMIT 1)
FROM public.retention_run WHERE policy = %s
"""


@dataclass(frozen=True)
class Planned:
    """What a pass would delete.

    Args:
        policy: of it.
        cutoff: older rows would go.
        rows: of each table.
        refused: why nothing would go.
    """

    policy: str
    cutoff: str
    rows: dict[str, int]
    refused: str = ""


def plan(url: str, policies: Sequence[Retention], holds: Holds = nobody) -> Iterator[Planned]:
    """Count what each policy would delete now.

    Args:
        url: of the database.
        policies: that say what goes when.
        holds: what stays, however old it is.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with backfill_session(url, application=APPLICATION) as session:
        for policy in policies:
            with session.transaction(entered(SHARED), Limits(), statement=0):
                cutoff = _cutoff(session.rows, policy, 0)
                try:
                    counts = dict.fromkeys((policy.name, *map(str, policy.children)), 0)
                    for site in survey(session.rows, policy, holds):
                        doomed = site.doomed(session.rows, cutoff)
                        counts[policy.name] += doomed.count()
                        for chain in site.related.chains:
                            counts[chain[-1].short] += doomed.below(chain)
                    planned = Planned(policy.name, cutoff, counts)
                except ConfigurationError as error:
                    planned = Planned(policy.name, cutoff, {}, str(error))
            yield planned


def verify(
    url: str,
    policies: Sequence[Retention],
    *,
    interval: float,
    holds: Holds = nobody,
    statement: float = 0,
) -> Iterator[Finding]:
    """Look for what should not be there; yields each finding.

    Args:
        url: of the database.
        policies: that say what goes when.
        interval: seconds between two passes; what two of them have missed is a finding.
        holds: what stays, however old it is.
        statement: seconds that one may take; 0 for as long as it takes.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with backfill_session(url, application=APPLICATION) as session:
        for policy in policies:
            try:
                with session.transaction(entered(SHARED), Limits(), statement=statement):
                    found = list(_verified(session.rows, policy, 2 * interval, holds))
            except driver.DriverError as error:
                if session.ended(error) or driver.sqlstate(error) not in _TOO_LONG:
                    raise
                found = [
                    Finding(
                        policy.name,
                        UNKNOWN,
                        f"{policy.name} could not be looked at within {statement:.0f} s: "
                        f"`retention verify --policy {policy.name}` takes its time",
                    )
                ]
            yield from found


def _verified(rows: Rows, policy: Retention, grace: float, holds: Holds) -> Iterator[Finding]:
    name = policy.name
    ((since, last),) = rows(_LAST, (name, name))
    told = f"; the last pass was {last}" if last and not last.startswith("ok") else ""
    if since is None:
        never = f"{name} was never run to its end{told}: `retention run --policy {name}`"
        yield Finding(name, NEVER_RUN, never)
    elif since > grace:
        late = f"{name} is overdue: its last good pass ended {since:.0f} s ago{told}"
        yield Finding(name, OVERDUE, late)
    try:
        yield from _kept(rows, policy, survey(rows, policy, holds), grace)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield Finding(name, UNFIT, f"{name}: {line}")


def _kept(rows: Rows, policy: Retention, sites: Sequence[Site], grace: float) -> Iterator[Finding]:
    cutoff = _cutoff(rows, policy, grace)
    expired, tables = Counter[str](), set[int]()
    for site in sites:
        expired[site.target.table] += site.doomed(rows, cutoff).count(_MOST)
        tables |= {site.target.oid, *(chain[-1].child for chain in site.related.chains)}
    for where, count in expired.items():
        if count:
            old = f"{_told(count)} rows of {where} have expired: older than {cutoff}"
            yield Finding(policy.name, EXPIRED, old, count)
    for each in references(rows):
        refers = each.parent in tables or (each.child in tables and not each.valid)
        if refers and (orphans := _orphans(rows, each)):
            gone = (
                f"{_told(orphans)} rows of {each.table} refer to rows of "
                f"{each.parent_table} that are gone ({each.name})"
            )
            yield Finding(policy.name, ORPHANED, gone, orphans)


def _told(count: int) -> str:
    return str(count) if count < _MOST else f"{count} or more"


def _orphans(rows: Rows, each: Reference) -> int:
    pairs = list(zip(each.columns, each.referred, strict=True))
    same = " AND ".join(f"child.{quoted(one)} = parent.{quoted(two)}" for one, two in pairs)
    refers = " AND ".join(f"child.{quoted(one)} IS NOT NULL" for one, _ in pairs)
    ((count,),) = rows(
        f"SELECT count(*) FROM (SELECT FROM {each.table} AS child WHERE {refers} AND NOT EXISTS "
        f"(SELECT FROM {each.parent_table} AS parent WHERE {same}) LIMIT {_MOST}) AS orphans"
    )
    return int(count)


def _cutoff(rows: Rows, policy: Retention, grace: float) -> str:
    sql = "SELECT (clock_timestamp() - %s - make_interval(secs => %s))::text"
    return str(rows(sql, (policy.keep, grace))[0][0])
