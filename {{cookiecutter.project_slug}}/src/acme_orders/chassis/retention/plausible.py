"""What stops a pass before it begins: a clock that jumped, or a policy that nobody meant."""

from collections.abc import Sequence
from datetime import UTC, datetime

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.retention.portion import Doomed

FEW = 10_000  # rows, which may be all that a young table has
_SKEW = 300.0  # seconds between two clocks, far above what NTP leaves
_ROWS = """
SELECT coalesce(sum(greatest(reltuples, pg_stat_get_live_tuples(pg_class.oid), 0)), 0)::bigint
FROM pg_class WHERE relkind = 'r' AND (
    pg_class.oid = %s OR pg_class.oid IN (SELECT relid FROM pg_partition_tree(%s::oid::regclass))
)
"""


class Implausible(ServiceError):
    """Nothing was deleted, because too much would have been."""


def refuse_skewed(now: datetime) -> None:
    """Compare the clock of PostgreSQL with ours.

    Raises:
        Implausible: they differ so much that one of them is wrong.
    """
    skew = (now - datetime.now(UTC)).total_seconds()
    if abs(skew) > _SKEW:
        raise Implausible(
            f"the clock of PostgreSQL is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} "
            "ours, and what is old depends on it: set the one that is wrong, by NTP"
        )


def refuse_implausible(rows: Rows, doomed: Sequence[Doomed], most: float) -> None:
    """Count what is to go.

    Args:
        rows: runs SQL in the open transaction.
        doomed: rows of one policy, in each place.
        most: share of the table.

    Raises:
        Implausible: it is more than that.
    """
    oids = {each.target.oid for each in doomed}
    total = sum(about(rows, oid) for oid in oids)
    ceiling, count = max(FEW, int(most * total)), 0
    for each in doomed:
        count += each.count(ceiling + 1 - count)
        if count > ceiling:
            raise Implausible(
                f"more than {ceiling} of about {total} rows are older than {each.cutoff}, and one "
                f"pass deletes at most {most:.0%} (RETENTION_MOST): is the clock right, and is "
                f"the policy meant? `retention plan` shows it, and `retention run --policy "
                f"{each.target.policy.name} --anyway` does it"
            )


def about(rows: Rows, oid: int) -> int:
    """How many rows a table has, as far as PostgreSQL knows without counting."""
    return int(rows(_ROWS, (oid, oid))[0][0])
