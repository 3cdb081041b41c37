"""What is not as it should be in a schema's history and indexes, each with what helps."""

from collections.abc import Iterator, Mapping, Sequence

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.history import (
    Applied,
    changed,
    changed_text,
    gone_text,
    refuse_late,
)
from acme_orders.chassis.migrations.session import MigrationSession

_REPAIR = "`migrate repair` finishes it"


def findings(
    session: MigrationSession, known: Sequence[Migration], schema: str, history: Sequence[Applied]
) -> Iterator[str]:
    """All of one schema, but what is pending."""
    yield from map(changed_text, changed(known, history))
    ids = {each.id for each in known}
    yield from (gone_text(line, known) for line in history if line.id not in ids)
    yield from (unfinished_text(line) for line in history if line.status != "ok")
    for name in session.invalid_indexes(schema):
        yield (
            f"the index {name} is invalid: no query uses it, and each write pays for it; "
            "`migrate repair` builds it anew, or removes it where it is only a leftover"
        )


def not_applied(
    mine: Sequence[Migration],
    history: Sequence[Applied],
    everywhere: Sequence[Applied],
    known: Sequence[Migration],
) -> Iterator[str]:
    """What is pending in one schema, though nothing of it has begun, and what comes too late.

    Args:
        mine: that are for this schema.
        history: of it.
        everywhere: that, and what of other schemas comes before the next one here.
        known: all.
    """
    begun = {line.id for line in history}
    lacking = [each for each in mine if each.id not in begun]
    try:
        refuse_late(lacking, everywhere, known)
    except ConfigurationError as error:
        yield str(error)
    else:
        yield from (f"{each.id} is pending: run `migrate up`" for each in lacking)


def refuse_unknown(
    accepted: Sequence[str], known: Sequence[Migration], histories: Mapping[str, Sequence[Applied]]
) -> None:
    """Check ids whose checksums are to be recorded anew.

    Raises:
        ConfigurationError: one has no files, or is not applied.
    """
    applied = {line.id for history in histories.values() for line in history}
    for each in accepted:
        if each not in applied & {migration.id for migration in known}:
            raise ConfigurationError(
                f"--accept {each}: no migration of this name is applied and has its files here; "
                "`migrate status` shows the names"
            )


def unfinished_text(line: Applied) -> str:
    """What became of a migration that is committed statement by statement."""
    way = "taken back" if line.direction == "down" else "applied"
    since = f"{line.at:%Y-%m-%d %H:%M:%S} UTC"
    if line.status == "running":
        return f"{line.id} was begun to be {way} at {since} and did not end: {_REPAIR}"
    return f"{line.id} could not be {way} at {since}: {line.error}; put that right, and {_REPAIR}"
