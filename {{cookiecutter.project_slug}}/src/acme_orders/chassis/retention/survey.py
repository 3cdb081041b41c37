"""Where the rows of a policy are, and whether they may be deleted there."""

from dataclasses import dataclass, replace

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.closure import Closure, closure
from acme_orders.chassis.retention.places import schemas
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.portion import Doomed
from acme_orders.chassis.retention.target import Target

HIDDEN = """
SELECT current_user::text FROM pg_class
WHERE oid = %s AND row_security_active(oid) AND NOT EXISTS (
    SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive AND polcmd IN ('*', 'd')
        AND polroles && ARRAY[0::oid, current_user::regrole::oid]
        AND pg_get_expr(polqual, polrelid) = 'true'
)
"""


@dataclass(frozen=True)
class Site:
    """The table of a policy in one schema.

    Args:
        place: the schema.
        target: the table.
        related: what refers to it.
    """

    place: str
    target: Target
    related: Closure

    def doomed(self, rows: Rows, cutoff: str) -> Doomed:
        """Its rows that are older."""
        return Doomed(rows, self.target, self.related, cutoff)


def survey(rows: Rows, policy: Retention) -> list[Site]:
    """Look at the catalogue in each schema.

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
        problems += (
            f"row-level security hides rows of {target.table} from {role}: CREATE POLICY system "
            f"ON {target.table} TO {role} USING (true)"
            for (role,) in rows(HIDDEN, (target.oid,))
        )
        related = closure(rows, target.oid, target.table, policy)
        problems += related.problems
        found += (Site(place, replace(target, policy=part), related) for part in parts)
    if problems:
        raise ConfigurationError("\n".join(dict.fromkeys(problems)))
    return found
