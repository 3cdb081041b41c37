"""What differs between drivers, for psycopg 3."""

from typing import Any

import psycopg
from peewee_async import Psycopg3Database as Database
from peewee_async import PsycopgPoolBackend
from psycopg_pool import AsyncConnectionPool

__all__ = ["Database", "Pool", "command_tag", "connect", "constraint", "sqlstate"]

DriverError = psycopg.Error


class Pool(PsycopgPoolBackend):
    """psycopg's pool behind the interface of peewee-async.

    Args:
        url: `postgresql://…`; every parameter of libpq is allowed.
        size: most connections.
        connect_timeout: seconds for one new connection.
        statement_timeout: seconds; psycopg leaves it to the server.
        options: server settings of each new session.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int,
        connect_timeout: float,
        statement_timeout: float,  # noqa: ARG002
        options: str,
    ) -> None:
        super().__init__(database=url)
        self._arguments: dict[str, Any] = {"conninfo": url, "min_size": 1, "max_size": size}
        self._connection: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": max(2, round(connect_timeout)),
            "cursor_factory": psycopg.AsyncClientCursor,
            "options": options,
        }
        self._connect_timeout = connect_timeout

    async def create(self) -> None:
        """Open the pool with its first connection."""
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            open=False, kwargs=self._connection, **self._arguments
        )
        try:
            await pool.open(wait=True, timeout=self._connect_timeout)
        except BaseException:
            await pool.close()
            raise
        self.pool = pool


def connect(url: str) -> Any:
    """Open a blocking connection that commits each statement by itself, for migrations."""
    return psycopg.connect(
        url, autocommit=True, connect_timeout=10, cursor_factory=psycopg.ClientCursor
    )


def command_tag(cursor: Any) -> str:
    """What PostgreSQL answered, such as `COMMIT` or `INSERT 0 1`."""
    return str(cursor.statusmessage)


def sqlstate(error: BaseException) -> str | None:
    """The five characters of PostgreSQL's error code; None if the server did not speak."""
    return getattr(error, "sqlstate", None)


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that was broken."""
    return getattr(getattr(error, "diag", None), "constraint_name", None)
