"""What differs between drivers, for aiopg on psycopg2."""

from typing import Any

import aiopg
import psycopg2
from peewee_async import AioPgPoolBackend
from peewee_async import PostgresqlDatabase as Database

__all__ = ["Database", "Pool", "command_tag", "connect", "constraint", "sqlstate"]

DriverError = psycopg2.Error


class Pool(AioPgPoolBackend):
    """aiopg's pool behind the interface of peewee-async.

    Args:
        url: `postgresql://…`; every parameter of libpq is allowed.
        size: most connections.
        connect_timeout: seconds for one new connection.
        statement_timeout: seconds; aiopg breaks a connection that is silent for longer, so it has
            to be longer than the server's own limit.
        options: server settings of each new session.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int,
        connect_timeout: float,
        statement_timeout: float,
        options: str,
    ) -> None:
        super().__init__(database=url)
        self._arguments: dict[str, Any] = {
            "dsn": url,
            "minsize": 1,
            "maxsize": size,
            "timeout": max(connect_timeout, statement_timeout + 5),
            "enable_hstore": False,  # it would cost a catalog query for each connection
            "options": options,
        }

    async def create(self) -> None:
        """Open the pool with its first connection."""
        self.pool = await aiopg.create_pool(**self._arguments)


def connect(url: str) -> Any:
    """Open a blocking connection that commits each statement by itself, for migrations."""
    connection = psycopg2.connect(url, connect_timeout=10)
    connection.autocommit = True
    return connection


def command_tag(cursor: Any) -> str:
    """What PostgreSQL answered, such as `COMMIT` or `INSERT 0 1`."""
    return str(cursor.raw.statusmessage)


def sqlstate(error: BaseException) -> str | None:
    """The five characters of PostgreSQL's error code; None if the server did not speak."""
    return getattr(error, "pgcode", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was broken."""
    return getattr(getattr(error, "diag", None), "constraint_name", None)
