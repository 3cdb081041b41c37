"""Where the rows of a policy are, and whether they may be deleted there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.holding import held
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.anonymising import unfit
from acme_orders.chassis.retention.archive import archives
from acme_orders.chassis.retention.closure import Closure, closure
from acme_orders.chassis.retention.places import schemas
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.portion import Doomed
from acme_orders.chassis.retention.target import TABLE, Target

HIDDEN = """
SELECT current_user::text FROM pg_class
WHERE oid = %s AND row_security_active(oid) AND NOT EXISTS (
    SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive AND polcmd IN ('*', 'd')
        AND polroles && ARRAY[0::oid, current_user::regrole::oid]
        AND pg_get_expr(polqual, polrelid) = 'true'
)
"""


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


def survey(rows: Rows, policy: Retention, subjects: Sequence[Subject] = ()) -> list[Site]:
    """Look at the catalogue in each schema.

    Args:
        rows: runs SQL in the open transaction.
        policy: that says what goes when.
        subjects: people whose rows stay while somebody holds them.

    Raises:
        ConfigurationError: rows may not be deleted as this policy says; names each reason.
    """
    found, problems = list[Site](), list[str]()
    for place in schemas(rows):
        parts = [policy]
        parts = Target.of_tenants(rows, policy, place)  # feature: row, rls
        target = Target.of(rows, parts[0], place) if parts else None
        if target is None:
            continue
        for oid, table in (target.oid, target.table), *_tables_of(rows, subjects, place):
            problems += (
                f"row-level security hides rows of {table} from {role}: CREATE POLICY system "
                f"ON {table} TO {role} USING (true)"
                for (role,) in rows(HIDDEN, (oid,))
            )
        if lacks := list(unfit(rows, target)):
            problems += lacks
            continue
        related = _NOTHING
        if not policy.anonymise:
            related = closure(rows, target.oid, target.table, policy)
        problems += related.problems
        going = {policy.table, *(chain[-1].short for chain in related.chains)}
        try:
            kept = archives(rows, place, policy, {str(each) for each in going})
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        target = replace(target, archives=kept)
        stays = held(rows, place, target.oid, related.chains, subjects)
        found += (Site(place, replace(target, policy=part), related, stays) for part in parts)
    if problems:
        raise ConfigurationError("\n".join(dict.fromkeys(problems)))
    return found


def _tables_of(rows: Rows, subjects: Sequence[Subject], place: str) -> Iterator[tuple[int, str]]:
    """Those in which people are known; who does not see all of them would not see who is held."""
    for each in subjects:
        yield from ((oid, table) for oid, table, *_ in rows(TABLE, (place, each.name)))
