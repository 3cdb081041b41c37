"""Where rows are kept when they go: a table that gets them in the same statement."""

from collections.abc import Iterator, Mapping

from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.target import TABLE, quoted

Found = tuple[str, dict[str, str]]  # a table, as SQL writes it, and the types of its columns


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
    found, problems = dict[str, str](), list[str]()
    for table, archive in ((str(one), str(two)) for one, two in policy.archive.items()):
        source, target = _table(rows, place, table), _table(rows, place, archive)
        lacks = list(_lacks(table, archive, source, target, going))
        problems += lacks
        if not lacks and source and target:
            names = ", ".join(map(quoted, source[1]))
            found[table] = f"INSERT INTO {target[0]} ({names}) SELECT {names} FROM gone"
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _table(rows: Rows, place: str, name: str) -> Found | None:
    for _, table, columns, types, _ in rows(TABLE, (place, name)):
        return table, dict(zip(columns, types, strict=True))
    return None


def _lacks(
    table: str, archive: str, source: Found | None, target: Found | None, going: set[str]
) -> Iterator[str]:
    if table not in going or not source:
        yield (
            f"archive names {table}, whose rows do not go by this policy: take it out, or name it "
            "in children"
        )
    elif not target:
        yield (
            f"there is no table {archive}, where rows of {source[0]} are kept: "
            f"CREATE TABLE {archive} (LIKE {table})"
        )
    elif archive in going:
        yield f"{archive} is the archive of {table}, and its rows go by the same policy"
    else:
        yield from _narrower(source, target)


def _narrower(source: Found, target: Found) -> Iterator[str]:
    into: Mapping[str, str] = target[1]
    for name, kind in source[1].items():
        if name not in into:
            yield (
                f"{target[0]} has no column {name}, so that of {source[0]} would be lost: "
                f"ALTER TABLE {target[0]} ADD {quoted(name)} {kind}"
            )
        elif into[name] != kind:
            yield (
                f"{target[0]}.{name} is {into[name]}, and in {source[0]} it is {kind}: "
                "let both be the same"
            )
