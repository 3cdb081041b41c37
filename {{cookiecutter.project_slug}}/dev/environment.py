"""The variables of the environment that belong to somebody else's PostgreSQL or RabbitMQ."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# libpq, and each driver on top of it, obeys PGHOST, PGSSLMODE, PGOPTIONS, PGTZ… for whatever the
# address of a server leaves open.
POSTGRES = ("PG",)
RABBITMQ = ("RABBITMQ_", "ERL_")
# Of the service, beside DATABASE_URL: they would name a database of another server.
OTHER_ADDRESSES = ("DATABASE_SESSION_URL", "MIGRATION_DATABASE_URL")


def without(*prefixes: str) -> dict[str, str]:
    """Return the environment without the variables that begin so."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


@contextmanager
def forgotten(*prefixes: str) -> Iterator[None]:
    """Take these variables out of our own environment until the block ends.

    For programs that use a private server themselves: with PGSSLMODE=require, for example, none of
    their connections would be made. Threads share the environment, so begin and end with no other.
    """
    before = dict(os.environ)
    for name in before.keys() - without(*prefixes).keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if name not in os.environ})
