"""A database to try migrations in."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

from acme_orders.chassis.addresses import parse, with_path
from acme_orders.chassis.database import driver
from acme_orders.chassis.database.blocking import open_blocking
from acme_orders.chassis.errors import ConfigurationError


@contextmanager
def scratch_database(url: str, prefix: str, *, like: str = "") -> Iterator[str]:
    """A database on the server of `url`, which itself is not touched; yields its URL.

    It is empty, or has what the scratch database at the URL `like` has, which nobody uses now.

    Raises:
        ConfigurationError: the role of `url` may not create databases.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    name = f"{prefix}{uuid4().hex}"
    copy = f" TEMPLATE {parse(like, 'postgresql', 'postgres').path}" if like else ""
    with closing(open_blocking(url)) as connection:
        try:
            connection.cursor().execute(f"CREATE DATABASE {name}{copy}")
        except driver.DriverError as error:
            raise ConfigurationError(
                f"no scratch database on the server of DATABASE_URL: {str(error).strip()}; "
                "give the role CREATEDB, or name a server for tests"
            ) from error
    try:
        yield with_path(url, name)
    finally:
        with closing(open_blocking(url)) as connection:
            connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
