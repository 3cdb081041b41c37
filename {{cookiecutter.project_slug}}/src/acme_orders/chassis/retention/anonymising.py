"""What stays of a row that forgets whom it is about: all but some columns."""

from collections.abc import Iterator

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.target import Target, quoted

_NEEDED = "SELECT attname::text FROM pg_attribute WHERE attrelid = %s AND attnotnull"


class Anonymised:
    """SQL about the columns that are overwritten, none if rows are deleted.

    Args:
        target: whose policy names them.
    """

    def __init__(self, target: Target) -> None:
        given = target.policy.anonymise
        self.values = list(given.values())
        new = {name: f"%s::{target.types[name]}" for name in given}
        self.set = ", ".join(f"{quoted(name)} = {value}" for name, value in new.items())
        # As texts: a column of type json cannot be compared.
        self.not_yet = " OR ".join(
            f"t0.{quoted(name)}::text IS DISTINCT FROM ({value})::text"
            for name, value in new.items()
        )

    def __bool__(self) -> bool:
        return bool(self.set)


def unfit(rows: Rows, target: Target) -> Iterator[str]:
    """Why columns cannot be overwritten as the policy says.

    Args:
        rows: runs SQL in the open transaction.
        target: the table.
    """
    policy = target.policy
    needed = {name for (name,) in rows(_NEEDED, (target.oid,))} if policy.anonymise else set()
    for name, value in policy.anonymise.items():
        if name not in target.types:
            yield f"{target.table} has no column {name}, which anonymise names"
        elif name in {policy.age, *policy.only, *target.key}:
            yield f"by {name} rows of {target.table} are found, so it cannot be anonymised"
        elif value is None and name in needed:
            yield (
                f"{target.table}.{name} has to have a value: say which one stays, such as "
                f'anonymise={{"{name}": ""}}'
            )
