"""The table of a policy, as PostgreSQL has it in one schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.retention.policy import Retention, table_name
from acme_orders.chassis.retention.refusal import NoIndex, NotDeletable

TABLE = """
SELECT pg_class.oid::bigint, format('%%I.%%I', nspname, relname),
    array_agg(attname::text ORDER BY attnum),
    array_agg(format_type(atttypid, atttypmod) ORDER BY attnum),
    (SELECT array_agg(part.attname::text ORDER BY place)
        FROM pg_index CROSS JOIN unnest(indkey::smallint[]) WITH ORDINALITY AS key (number, place)
        JOIN pg_attribute AS part ON part.attrelid = indrelid AND part.attnum = number
        WHERE indrelid = pg_class.oid AND indisprimary)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'p')
GROUP BY pg_class.oid, nspname
"""
# Those of all rows, or of all that have an age.
_INDEXES = """
SELECT array_agg(attname::text ORDER BY place) FROM pg_index
    CROSS JOIN unnest(indkey::smallint[]) WITH ORDINALITY AS key (number, place)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = number
    JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = %s AND indisvalid AND indexprs IS NULL AND amname = 'btree'
    AND place <= indnkeyatts
    AND coalesce(pg_get_expr(indpred, indrelid) = format('(%%I IS NOT NULL)', %s::text), true)
GROUP BY indexrelid
"""


@dataclass(frozen=True)
class Target:
    """A table from which rows are deleted.

    Args:
        policy: that says which.
        oid: of it.
        table: with its schema, as SQL writes it.
        key: the columns of its primary key.
        types: of its columns.
        archives: for tables whose rows are kept elsewhere, SQL that puts those of `gone` there.
    """

    policy: Retention
    oid: int
    table: str
    key: tuple[str, ...]
    types: dict[str, str]
    archives: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Rows, policy: Retention, place: str) -> "Target | None":
        """Look at the table; None if this schema has none.

        Raises:
            NotDeletable: it cannot be gone through; says what it lacks.
        """
        name = table_name(policy.table)
        for oid, table, columns, kinds, key in rows(TABLE, (place, name)):
            indexes = [tuple(found) for (found,) in rows(_INDEXES, (oid, policy.age))]
            problems = list(_problems(policy, table, columns, key))
            if not problems and not any(_serves(policy, each) for each in indexes):
                problems.append(
                    NoIndex(
                        f"no index of {table} begins with {policy.age}, so each pass would read "
                        f"all of it: CREATE INDEX CONCURRENTLY {name}_{policy.age} ON {name} "
                        f"({policy.age})",
                        table=name,
                        columns=(policy.age,),
                    )
                )
            if problems:
                raise NotDeletable(problems)
            types = dict(zip(columns, kinds, strict=True))
            return cls(policy, oid, table, tuple(key), types)
        return None

    # feature: row, rls {

    @staticmethod
    def of_tenants(rows: Rows, policy: Retention, place: str) -> list[Retention]:
        """The policy for each tenant by itself, if the index of the age begins with the tenant.

        Raises:
            NotDeletable: it is for a tenant that nobody knows.
        """
        known = "SELECT 1 FROM public.tenants WHERE id::text = lower(%s)"
        if (tenant := policy.only.get("tenant_id")) and not rows(known, (tenant,)):
            why = f"the policy {policy.name} is for the tenant {tenant}, and there is none: "
            raise NotDeletable((f"{why}`tenants list` shows them",))

        def pinned(tenant: str) -> Retention:
            return Retention(**{**vars(policy), "only": {**policy.only, "tenant_id": tenant}})

        name = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::oid::bigint"
        ((oid,),) = rows(name, (place, policy.table))
        indexes = [each for (each,) in rows(_INDEXES, (oid, policy.age))]
        led = any(_serves(policy, each) for each in indexes)
        if led or not any(_serves(pinned(""), each) for each in indexes):
            return [policy]
        tenants = rows("SELECT id::text FROM public.tenants ORDER BY id")
        return [pinned(tenant) for (tenant,) in tenants]

    # feature: row, rls }


def _problems(
    policy: Retention, table: str, columns: Sequence[str], key: Sequence[str] | None
) -> Iterator[str]:
    for name in (policy.age, *policy.only):
        if name not in columns:
            yield f"{table} has no column {name}, which its policy names in slice.py"
    if not key:
        yield f"{table} has no primary key, by which rows are found again: ADD PRIMARY KEY (…)"


def _serves(policy: Retention, columns: Sequence[str]) -> bool:
    """Whether all before the age is pinned to one value."""
    if policy.age not in columns:
        return False
    return set(columns[: columns.index(policy.age)]) <= {*policy.only}


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
