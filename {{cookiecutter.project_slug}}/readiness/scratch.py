"""Databases that exist for the length of a block."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

from acme_orders.chassis.addresses import with_path
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.errors import ConfigurationError

from readiness.two_tenants import TENANT  # feature: rls, schema

PREFIX = "readiness_"


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """An empty database on the server of `url`, which itself is not touched; yields its URL.

    Raises:
        ConfigurationError: the role of `url` may not create databases.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    name = f"{PREFIX}{uuid4().hex}"
    with session(url) as cursor:
        try:
            cursor.execute(f"CREATE DATABASE {name}")
        except driver.DriverError as error:
            raise ConfigurationError(
                f"no scratch database on the server of DATABASE_URL: {str(error).strip()}; "
                "give the role CREATEDB, or name a server for tests"
            ) from error
    try:
        yield with_path(url, name)
    finally:
        with session(url) as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def rows_of(url: str, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """What one statement answers on a connection of its own, so it sees only what is committed."""
    with session(url) as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


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
