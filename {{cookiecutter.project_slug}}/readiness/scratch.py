"""Databases that exist for the length of a block."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

from acme_orders.chassis.database.blocking import fetched, open_blocking
from acme_orders.chassis.migrations import scratch

from readiness.two_tenants import TENANT  # feature: rls, schema

PREFIX = "readiness_"


def scratch_database(url: str, *, like: str = "") -> AbstractContextManager[str]:
    """A database on the server of `url`, which itself is not touched; gives its URL.

    It is empty, or has what the one at the URL `like` has.

    Raises:
        ConfigurationError: the role of `url` may not create databases.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    return scratch.scratch_database(url, PREFIX, like=like)


def rows_of(url: str, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """What one statement answers on a connection of its own, so it sees only what is committed."""
    with session(url) as cursor:
        return fetched(cursor, sql, parameters)


@contextmanager
def session(url: str) -> Iterator[Any]:
    """A cursor on a connection of its own; each statement commits by itself.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    with closing(open_blocking(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SET app.tenant_id = '{TENANT}'")  # feature: rls
        cursor.execute(f"SET search_path = tenant_{TENANT.hex}, public")  # feature: schema
        yield cursor
