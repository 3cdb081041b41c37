"""A blocking connection, for migrations, backfills, retention, tenants and the checklist."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

from acme_orders.chassis.database import driver, session
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.errors import ConfigurationError, DatabaseUnavailable

Rows = Callable[..., list[Any]]  # runs SQL with its parameters, and returns the rows
_NAME = "acme-orders migrate"
# A migration may take hours, but no longer than its runner lives: the next one waits for it.
_OWN = {
    "client_connection_check_interval": "1000",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_UNLIMITED = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'
"""  # older servers have none


def open_blocking(url: str, *, application: str = _NAME) -> Any:
    """Open a connection that commits each statement by itself.

    Args:
        url: of the database, with the role to act as.
        application: name that PostgreSQL shows.

    Raises:
        ConfigurationError: the address cannot be read or gives no session, or the database has
            another encoding.
        DatabaseUnavailable: PostgreSQL does not answer or refuses us.
    """
    address = DatabaseAddress.parse(url)
    if address.pooler == "transaction":
        raise ConfigurationError(
            f"the pooler at {address.place} gives no session of one's own, which this needs: use "
            "an address without it, or one with ?pooler=session"
        )
    with ExitStack() as stack:
        try:
            parameters = address.parameters(_OWN, application=application)
            connection = stack.enter_context(closing(driver.connect(**parameters)))
            cursor = connection.cursor()
            cursor.execute(address.first(_OWN))
            cursor.execute(_UNLIMITED)
            cursor.execute("SHOW server_encoding")
            session.refuse_others({"server_encoding": cursor.fetchone()[0]})
        except driver.DriverError as error:
            reason = address.redact(" ".join(str(error).split()))
            error.args = (reason,)  # a traceback shows the cause as well
            raise DatabaseUnavailable(
                f"cannot reach PostgreSQL at {address.place}: {reason}; start it or correct the "
                "address in DATABASE_URL or MIGRATION_DATABASE_URL"
            ) from error
        stack.pop_all()
    return connection


def fetched(cursor: Any, sql: str, parameters: Sequence[Any] | None = None) -> list[Any]:
    """Run SQL and return the rows of its last statement; none if that answers with none."""
    cursor.execute(sql, parameters or None)
    return list(cursor.fetchall()) if cursor.description else []
