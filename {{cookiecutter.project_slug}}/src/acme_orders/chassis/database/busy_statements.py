"""What PostgreSQL has been busy with for the service, where it counts that: pg_stat_statements."""

from contextlib import closing
from typing import Any, NamedTuple

from postgast import nodes as ast
from postgast.errors import PgQueryError

from acme_orders.chassis.database import driver
from acme_orders.chassis.database.access import SERVICE_ROLE
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.database.sql_text import QUERIES, descendants, parse
from acme_orders.chassis.errors import ConfigurationError

_STATEMENTS = """
SELECT query, calls, total_exec_time / 1000 FROM {schema}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND userid = (SELECT oid FROM pg_roles WHERE rolname = %(role)s)
ORDER BY total_exec_time DESC LIMIT 1000
"""
_EXTENSION = """
SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'pg_stat_statements'
"""
# The session is its own, and ends with it. PostgreSQL shows a role the texts of its own statements.
_SESSION = (
    f"SET ROLE {SERVICE_ROLE}",
    "SET default_transaction_read_only = on",
    "SET statement_timeout = '5s'",
)


class Busy(NamedTuple):
    """One statement, without values.

    Args:
        sql: one text for all that differ in values only.
        calls: so often.
        seconds: of all of them.
    """

    sql: str
    calls: int
    seconds: float


def busiest(cursor: Any, most: int) -> list[Busy] | None:
    """Those that took longest in all; None where the extension is not in this database."""
    cursor.execute(_EXTENSION)
    if not (schemas := cursor.fetchall()):
        return None
    cursor.execute(_STATEMENTS.format(schema=schemas[0][0]), {"role": SERVICE_ROLE})
    return [Busy(*row) for row in cursor.fetchall() if _is_query(row[0])][:most]


def busiest_at(url: str, most: int) -> list[Busy] | None:
    """Likewise, in a session of its own, as the service sees it.

    Raises:
        ConfigurationError: PostgreSQL does not count, though the extension is there.
        DatabaseUnavailable: it does not answer.
    """
    connection = open_blocking(url, application="acme-orders operations")
    with closing(connection):
        cursor = connection.cursor()
        try:
            for each in _SESSION:
                cursor.execute(each)
            return busiest(cursor, most)
        except driver.DriverError as error:
            raise ConfigurationError(str(error).partition("\n")[0]) from error


def _is_query(sql: str) -> bool:
    """Whether it reads or changes a table; what a session says to itself does not."""
    try:
        (raw,) = parse(sql)
    except (PgQueryError, RecursionError, ValueError):  # also one that was cut off
        return False
    nodes = [raw.stmt, *descendants(raw.stmt)]
    return isinstance(raw.stmt, QUERIES) and any(isinstance(n, ast.RangeVar) for n in nodes)
