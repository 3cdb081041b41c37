"""Where rows are kept when they go: a table that gets them in the same statement."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.hidden import ADD, hidden
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.target import TABLE, quoted

# Rows that refer to others go before them, and so they come first.
_AT_ONCE = """
SELECT format('%%I', conname), format('%%I.%%I', nspname, relname) FROM pg_constraint
    JOIN pg_class ON pg_class.oid = conrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE contype = 'f' AND NOT condeferred AND conrelid <> confrelid
    AND conrelid = ANY (%s::oid[]) AND confrelid = ANY (%s::oid[]) ORDER BY 1
"""


class _Found(NamedTuple):
    """A table.

    Args:
        oid: of it.
        name: as SQL writes it.
        types: of its columns.
    """

    oid: int
    name: str
    types: Mapping[str, str]


def archives(rows: Rows, place: str, policy: Retention, going: set[str]) -> dict[str, str]:
    """For each table with an archive, SQL that puts the rows of `gone` there.

    Args:
        rows: runs SQL in the open transaction.
        place: the schema of the tables.
        policy: that names the archives.
        going: names of the tables whose rows go.

    Raises:
        ConfigurationError: an archive would not keep a row as it is; says what it lacks.
    """
    found, problems, oids = dict[str, str](), list[str](), list[int]()
    for table, archive in ((str(one), str(two)) for one, two in policy.archive.items()):
        source, target = _table(rows, place, table), _table(rows, place, archive)
        lacks = list(_lacks(table, archive, source, target, going))
        problems += lacks
        if not lacks and source and target:
            names = ", ".join(map(quoted, source.types))
            found[table] = f"INSERT INTO {target.name} ({names}) SELECT {names} FROM gone"
            problems += hidden(rows, target.oid, target.name, ADD)
            oids.append(target.oid)
    problems += (
        f"{name} of {table} is checked before what it refers to is in its archive: ALTER TABLE "
        f"{table} ALTER CONSTRAINT {name} DEFERRABLE INITIALLY DEFERRED"
        for name, table in rows(_AT_ONCE, (oids, oids))
    )
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _table(rows: Rows, place: str, name: str) -> _Found | None:
    for oid, table, columns, types, _ in rows(TABLE, (place, name)):
        return _Found(oid, table, dict(zip(columns, types, strict=True)))
    return None


def _lacks(
    table: str, archive: str, source: _Found | None, target: _Found | None, going: set[str]
) -> Iterator[str]:
    if table not in going or not source:
        yield (
            f"archive names {table}, whose rows do not go by this policy: take it out, or name it "
            "in children"
        )
    elif not target:
        yield (
            f"there is no table {archive}, where rows of {source.name} are kept: "
            f"CREATE TABLE {archive} (LIKE {table} INCLUDING INDEXES)"
        )
    elif archive in going:
        yield f"{archive} is the archive of {table}, and its rows go by the same policy"
    else:
        yield from _narrower(source, target)


def _narrower(source: _Found, target: _Found) -> Iterator[str]:
    into = target.types
    for name, kind in source.types.items():
        if name not in into:
            yield (
                f"{target.name} has no column {name}, so that of {source.name} would be lost: "
                f"ALTER TABLE {target.name} ADD {quoted(name)} {kind}"
            )
        elif into[name] != kind:
            yield (
                f"{target.name}.{name} is {into[name]}, and in {source.name} it is {kind}: "
                "let both be the same"
            )
