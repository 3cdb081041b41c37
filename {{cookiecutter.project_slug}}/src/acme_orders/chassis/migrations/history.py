"""What the history of migrations says about their files."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import Migration, numbered


class Applied(NamedTuple):
    """A line of the history.

    Attributes:
        at: when it was applied, or begun.
        status: `ok`; `running`, also if its runner was killed; or `failed`. Only what is committed
            statement by statement can be left in such a state.
        direction: `up`, or `down` while it is taken back.
        error: of what failed.
    """

    id: str
    checksum: str
    at: datetime
    milliseconds: int
    status: str = "ok"
    direction: str = "up"
    error: str | None = None


def pending(known: Sequence[Migration], history: Sequence[Applied]) -> list[Migration]:
    """Those of `known` that are not applied, or not wholly, in order."""
    applied = {line.id for line in history if line.status == "ok"}
    return [each for each in known if each.id not in applied]


def refuse_late(
    lacking: Sequence[Migration], applied: Iterable[Applied], known: Sequence[Migration]
) -> None:
    """Check that pending migrations come after all of their series that are applied.

    Where two branches meet, each may have given a number that the other does not know of.

    Raises:
        ConfigurationError: one does not.
    """
    last: dict[str, tuple[int, str]] = {}
    first = {numbered(each.id)[0]: each.id for each in reversed(lacking)}
    for line in applied:
        series, number = numbered(line.id)
        if line.id != first.get(series):  # it may be applied to another schema
            last[series] = max((number, line.id), last.get(series, (0, "")))
    for series, late in first.items():
        taken, applied_id = last.get(series, (0, ""))
        if numbered(late)[1] <= taken:
            numbers = [
                number for of, number in (numbered(each.id) for each in known) if of == series
            ]
            free, name = max(taken, *numbers) + 1, late.rpartition("/")[2]
            raise ConfigurationError(
                f"{late} is pending, but {applied_id} is applied, and migrations are applied in "
                f"their order: call its files {free:04}{name[4:]}; or, if it is applied elsewhere "
                "under this number, take back here what comes after it (`migrate down`)"
            )


def newest_first(
    known: Sequence[Migration], history: Sequence[Applied], count: int
) -> list[Migration]:
    """The last `count` that were applied, the latest first, as they are to be taken back.

    Raises:
        ConfigurationError: one was changed after it was applied, or its files are gone.
    """
    refuse_changed(known, history)
    migrations = {each.id: each for each in known}
    order = {each.id: place for place, each in enumerate(known)}
    lines = sorted(history, key=lambda line: (line.at, order.get(line.id, 0)), reverse=True)[:count]
    if gone := [line for line in lines if line.id not in migrations]:
        raise ConfigurationError(gone_text(gone[0], known))
    return [migrations[line.id] for line in lines]


def refuse_unfit(known: Sequence[Migration], history: Sequence[Applied]) -> None:
    """Check that the files are those that were applied, and that of each series none is missing.

    While a release is taken back, the older one lacks what came after its own last file. A hole is
    another matter, and so is a series without any file: what is there was not made for this schema.

    Raises:
        ConfigurationError: one was changed, or there is a hole.
    """
    refuse_changed(known, history)
    ids, newest = {each.id for each in known}, dict(numbered(each.id) for each in known)
    for line in history:
        series, number = numbered(line.id)
        if line.id not in ids and number < newest.get(series, number + 1):
            raise ConfigurationError(gone_text(line, known))


def refuse_changed(known: Sequence[Migration], history: Sequence[Applied]) -> None:
    """Check that the files are those that were applied.

    Raises:
        ConfigurationError: one is not.
    """
    for each in changed(known, history):
        raise ConfigurationError(changed_text(each))


def changed(known: Sequence[Migration], history: Sequence[Applied]) -> Iterator[Migration]:
    """Those whose files are not what was applied; what was not applied wholly may be corrected."""
    checksums = {line.id: line.checksum for line in history if line.status == "ok"}
    for each in known:
        if each.id in checksums and not each.has(checksums[each.id]):
            yield each


def changed_text(migration: Migration) -> str:
    """What is wrong with an applied migration whose file says something else now."""
    return (
        f"{migration.up} was changed after it was applied: restore it, and write a new one; or, if "
        f"it does the same, `migrate repair --accept {migration.id}`"
    )


def gone_text(line: Applied, known: Sequence[Migration]) -> str:
    """What is wrong with an applied migration that has no files."""
    return (
        f"{line.id} is applied, and its files are not in {known[0].up.parent}: restore them (git, "
        "or the branch that has them), or take it back with the version of the project that has "
        "them; a database for development may be made anew"
    )
