# feature: schema
"""The schemas of tenants, what is applied to each, and what a run says of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

from acme_orders.chassis.errors import ConfigurationError, Conflict, ServiceError
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.history import (
    Applied,
    pending,
    refuse_late,
    refuse_unfit,
)
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.migrations.session import MigrationSession

_NAMED = 3  # schemas in one message; there may be hundreds
_REGISTRY = "SELECT to_regclass('public.tenants')"
_SCHEMAS = "SELECT schema_name FROM public.tenants ORDER BY created_at, id"


def schemas_of(session: MigrationSession) -> list[str]:
    """What tenants share, and the schema of each, the oldest first."""
    schemas = [SHARED]
    if session.rows(_REGISTRY)[0][0] is not None:
        schemas += [schema for (schema,) in session.rows(_SCHEMAS)]
    return schemas


def histories_of(session: MigrationSession) -> dict[str, list[Applied]]:
    """What is applied to each schema."""
    return {schema: session.history(schema) for schema in schemas_of(session)}


def latest_of(histories: Mapping[str, Sequence[Applied]]) -> list[Applied]:
    """For each migration its last line in any schema."""
    everywhere = sorted(chain(*histories.values()), key=lambda line: line.at)
    return list({line.id: line for line in everywhere}.values())


def with_later(history: Sequence[Applied], latest: Sequence[Applied]) -> list[Applied]:
    """A history, and what was applied elsewhere after its last line.

    A new schema begins with the first migration; one that is complete is like all others.
    """
    since = max((line.at for line in history), default=None)
    return [*history, *(line for line in latest if since and line.at > since)]


def lacking_in(
    known: Sequence[Migration], histories: Mapping[str, Sequence[Applied]]
) -> dict[Migration, list[str]]:
    """For each migration the schemas that it is not applied to.

    Raises:
        ConfigurationError: the files and a history do not fit; see `history`.
    """
    lacking: dict[Migration, list[str]] = {migration: [] for migration in known}
    latest = latest_of(histories)
    for schema, history in histories.items():
        mine = [each for each in known if each.each_tenant == (schema != SHARED)]
        with named(schema):
            refuse_unfit(known, history)
            missing = pending(mine, history)
            refuse_late(missing, with_later(history, latest), known)
        for migration in missing:
            lacking[migration].append(schema)
    return lacking


def refuse_failed(failed: Sequence[tuple[str, ServiceError]]) -> None:
    """Say what failed in which schema, if something did.

    Raises:
        Conflict: others were in the way, and nothing else.
        ConfigurationError: something else as well.
    """
    if not failed:
        return
    told = [f"{schema}: {error}" for schema, error in failed]
    told.append("what is done elsewhere stays: put this right, and run it again")
    blocked = all(isinstance(error, Conflict) for _, error in failed)
    raise (Conflict if blocked else ConfigurationError)("\n".join(told))


@contextmanager
def named(schema: str) -> Iterator[None]:
    """Errors with the schema that they are about."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{schema}: {error}") from None


def few(schemas: Sequence[str]) -> str:
    """Some of them, and how many more there are."""
    more = len(schemas) - _NAMED
    return ", ".join(schemas[:_NAMED]) + (f" and {more} more" if more > 0 else "")
