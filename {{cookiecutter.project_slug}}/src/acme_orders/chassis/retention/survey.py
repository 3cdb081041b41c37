"""Where the rows of a policy are, and whether they may be deleted there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.anonymising import unfit
from acme_orders.chassis.retention.archive import archives
from acme_orders.chassis.retention.closure import Closure, closure
from acme_orders.chassis.retention.hidden import DELETE, READ, WRITE, hidden
from acme_orders.chassis.retention.holds import Holds, Stays, nobody
from acme_orders.chassis.retention.places import schemas
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.portion import Doomed
from acme_orders.chassis.retention.refusal import NotDeletable
from acme_orders.chassis.retention.target import Target

_NOTHING = Closure((), ())  # goes with a row that stays


@dataclass(frozen=True)
class Site:
    """The table of a policy in one schema.

    Args:
        place: the schema.
        target: the table.
        related: what refers to it.
        held: SQL for rows that stay, however old they are.
    """

    place: str
    target: Target
    related: Closure
    held: str

    def doomed(self, rows: Rows, cutoff: str) -> Doomed:
        """Its rows that are older."""
        return Doomed(rows, self.target, self.related, cutoff, self.held)


def survey(rows: Rows, policy: Retention, holds: Holds = nobody) -> list[Site]:
    """Look at the catalogue in each schema.

    Args:
        rows: runs SQL in the open transaction.
        policy: that says what goes when.
        holds: what stays nevertheless.

    Raises:
        NotDeletable: rows may not be deleted as this policy says; names each reason.
    """
    found, problems = list[Site](), list[str]()
    for place in schemas(rows):
        parts = [policy]  # feature: tenancy=none, schema
        parts = Target.of_tenants(rows, policy, place)  # feature: row, rls
        target = Target.of(rows, parts[0], place) if parts else None
        if target is None:
            continue
        if lacks := list(unfit(rows, target)):
            problems += lacks
            continue
        related = _NOTHING
        if not policy.anonymise:
            related = closure(rows, target.oid, target.table, policy)
        stays = holds(rows, place, target.oid, related.chains)
        problems += [*related.problems, *_unseen(rows, target, related, stays)]
        going = {policy.table, *(chain[-1].short for chain in related.chains)}
        try:
            kept = archives(rows, place, policy, {str(each) for each in going})
        except ConfigurationError as error:
            problems += str(error).splitlines()
            continue
        target = replace(target, archives=kept)
        found += (Site(place, replace(target, policy=part), related, stays.where) for part in parts)
    if problems:
        raise NotDeletable(problems)
    return found


def _unseen(rows: Rows, target: Target, related: Closure, stays: Stays) -> Iterator[str]:
    """Tables of which a pass would not see all, and say that nothing is left, or held."""
    needs = (READ, WRITE) if target.policy.anonymise else (READ, WRITE, DELETE)
    yield from hidden(rows, target.oid, target.table, *needs)
    for *_, each in related.chains:
        yield from hidden(rows, each.child, each.table, READ, DELETE)
    for oid, table in stays.reads.items():
        yield from hidden(rows, oid, table, READ)
