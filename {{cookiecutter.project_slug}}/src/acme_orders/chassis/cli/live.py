"""What a database that is in use says about itself: `doctor --live`. Nothing is changed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import postgast

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.busy_statements import busiest

_SHOWN = 5  # of one kind; a schema for each tenant would say the same many times
_TOP = 20  # statements
# The session is this command's own, and ends with it.
_READ_ONLY = "SET default_transaction_read_only = on"  # lint: D4 (its own session)
_PATIENCE = "SET statement_timeout = '30s'"  # lint: D4 (its own session)


class Look(NamedTuple):
    """A question to the catalogue.

    Args:
        part: of the database.
        sql: gives a name and what is wrong with it, for each that is.
        helps: what to do.
        well: what is said if nothing is wrong.
    """

    part: str
    sql: str
    helps: str
    well: str


@dataclass(frozen=True, slots=True)
class Large:
    """From when on something matters.

    Args:
        rows: of a table.
        scans: of a whole table, since its statistics began.
        days: for which an index has to be unused.
    """

    rows: int = 10_000
    scans: int = 100
    days: float = 7


DEFAULT = Large()


class Told(NamedTuple):
    """What was seen of one part; `wrong` if somebody should do something."""

    part: str
    says: str
    wrong: bool


_OURS = "nspname !~ '^pg_' AND nspname <> 'information_schema'"
_LOOKS = (
    Look(
        "settings of PostgreSQL",
        """
        SELECT name, 'is ' || setting FROM pg_settings
        WHERE name IN ('fsync', 'full_page_writes', 'autovacuum', 'track_counts')
            AND setting = 'off'
        """,
        "ALTER SYSTEM SET … = on, then SELECT pg_reload_conf()",
        "rows survive a power failure, and dead ones are cleared away",
    ),
    Look(
        "invalid indexes",
        """
        SELECT indexrelid::regclass::text, 'serves no query, and is written with each row'
        FROM pg_index WHERE NOT indisvalid AND indexrelid NOT IN (
            SELECT index_relid FROM pg_stat_progress_create_index
        )
        """,
        "DROP INDEX CONCURRENTLY …, then make it again; `migrate repair` shows whose it is",
        "none",
    ),
    Look(
        "unused indexes",
        """
        SELECT indexrelid::regclass::text, pg_size_pretty(pg_relation_size(indexrelid))
            || ', read by nothing since ' || since::date
        FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
            JOIN pg_class ON pg_class.oid = pg_index.indrelid,
            (SELECT coalesce(stats_reset, pg_postmaster_start_time()) AS since
                FROM pg_stat_database WHERE datname = current_database()) AS statistics
        WHERE idx_scan = 0 AND NOT indisunique AND indisvalid AND reltuples >= %(rows)s
            AND now() - since >= make_interval(secs => %(days)s * 86400)
        ORDER BY pg_relation_size(indexrelid) DESC
        """,
        "ask every replica the same; then a migration with DROP INDEX CONCURRENTLY",
        "none",
    ),
    Look(
        "duplicate indexes",
        f"""
        SELECT one.indexrelid::regclass::text,
            'is the beginning of ' || other.indexrelid::regclass
        FROM pg_index AS one JOIN pg_index AS other ON other.indrelid = one.indrelid
            AND other.indexrelid <> one.indexrelid
            JOIN pg_class AS index ON index.oid = one.indexrelid
            JOIN pg_class AS longer ON longer.oid = other.indexrelid AND longer.relam = index.relam
            JOIN pg_namespace ON pg_namespace.oid = index.relnamespace
        WHERE {_OURS} AND NOT one.indisunique AND one.indisvalid AND other.indisvalid
            AND one.indpred IS NULL AND other.indpred IS NULL
            AND one.indexprs IS NULL AND other.indexprs IS NULL
            AND starts_with(concat(other.indkey, ' '), concat(one.indkey, ' '))
            AND starts_with(concat(other.indclass, ' '), concat(one.indclass, ' '))
            AND starts_with(concat(other.indoption, ' '), concat(one.indoption, ' '))
            AND (one.indkey::text <> other.indkey::text OR other.indisunique
                OR one.indexrelid > other.indexrelid)
        """,
        "a migration with DROP INDEX CONCURRENTLY",
        "none",
    ),
    Look(
        "whole tables that are read",
        """
        SELECT relid::regclass::text, seq_scan || ' times, ' || n_live_tup || ' rows'
        FROM pg_stat_user_tables WHERE n_live_tup >= %(rows)s AND seq_scan >= %(scans)s
            AND seq_tup_read >= seq_scan * n_live_tup / 2
        ORDER BY seq_tup_read DESC
        """,
        "`explain` shows the plans of its queries; an index begins with what they filter by",
        "no large one, time and again",
    ),
    Look(
        "bloat",
        """
        SELECT relid::regclass::text, n_dead_tup || ' dead rows beside ' || n_live_tup
            || coalesce(', vacuumed ' || greatest(last_vacuum, last_autovacuum)::date,
                ', never vacuumed')
        FROM pg_stat_user_tables
        WHERE n_dead_tup >= %(rows)s AND n_dead_tup > n_live_tup / 4
        ORDER BY n_dead_tup DESC
        """,
        "VACUUM (ANALYZE) …; a transaction that is open for long, or a replication slot that "
        "nobody reads, keeps it from working",
        "dead rows are cleared away",
    ),
)


def looked(url: str, contracts: Path, large: Large = DEFAULT) -> list[Told]:
    """What is to be seen in the catalogue, the statistics and the statements.

    Args:
        url: of the database; the login should have the role pg_monitor.
        contracts: folder of what queries send; it may be missing.
        large: from when on something matters.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    bounds = asdict(large)
    connection = open_blocking(url, application="acme-orders doctor")
    with closing(connection):
        cursor = connection.cursor()
        cursor.execute(_READ_ONLY)
        cursor.execute(_PATIENCE)
        told = [_told(each, _rows(cursor, each.sql, bounds)) for each in _LOOKS]
        try:
            return [*told, _statements(cursor, contracts)]
        except driver.DriverError as error:
            why = str(error).partition("\n")[0]
            return [*told, Told("statements", f"cannot be seen: {why}", wrong=False)]


def _rows(cursor: Any, sql: str, named: Mapping[str, Any] | None = None) -> list[Any]:
    cursor.execute(sql, named)
    return list(cursor.fetchall())


def _told(look: Look, rows: Sequence[Any]) -> Told:
    if not rows:
        return Told(look.part, look.well, wrong=False)
    found = _some([f"{name} {what}" for name, what in rows])
    return Told(look.part, f"{found}: {look.helps}", wrong=True)


def _some(found: Sequence[str]) -> str:
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return ", ".join([*found[:_SHOWN], *more])


def _statements(cursor: Any, contracts: Path) -> Told:
    """Those of the service that take longest, and that no contract has."""
    part = "statements"
    if (ours := busiest(cursor, _TOP)) is None:
        why = "there is no pg_stat_statements: CREATE EXTENSION pg_stat_statements"
        return Told(part, f"cannot be seen: {why}", wrong=False)
    known = {each for file in contracts.rglob("*.json") for each in _recorded(file)}
    if not known:
        return Told(part, f"are compared with nothing: {contracts} has no contracts", wrong=False)
    strange = [
        f"{' '.join(sql.split())[:120]} ({calls} calls, {took:.1f} s)"
        for sql, calls, took in ours
        if _fingerprint(sql) not in known
    ]
    if not strange:
        return Told(part, f"the {len(ours)} that take longest have contracts", wrong=False)
    helps = "`make contracts-update`, or find out who else acts as the service"
    return Told(part, f"no contract has {_some(strange)}; {helps}", wrong=True)


def _recorded(file: Path) -> Iterator[str]:
    content = json.loads(file.read_text("utf-8"))
    for each in content.get("statements", ()) if isinstance(content, dict) else ():
        if isinstance(each, dict) and "sql" in each:
            yield _fingerprint("\n".join(each["sql"]))


def _fingerprint(sql: str) -> str:
    """The same for statements that differ in values and spelling only."""
    return str(postgast.fingerprint(sql).hex)
