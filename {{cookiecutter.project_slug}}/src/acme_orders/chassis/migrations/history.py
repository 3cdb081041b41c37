"""What the history of migrations says about their files."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import Migration, numbered


class Applied(NamedTuple):
    """A line of the history."""

    id: str
    checksum: str
    at: datetime
    milliseconds: int


def pending(known: Sequence[Migration], history: Sequence[Applied]) -> list[Migration]:
    """Those of `known` that are not applied, in order.

    Raises:
        ConfigurationError: an applied one was changed afterwards.
    """
    refuse_changed(known, history)
    applied = {line.id for line in history}
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
    if gone := [line.id for line in lines if line.id not in migrations]:
        raise ConfigurationError(
            f"{gone[0]} is applied, and its files are not in {known[0].up.parent}: take it back "
            "with the version of the project that has them"
        )
    return [migrations[line.id] for line in lines]


def refuse_changed(known: Sequence[Migration], history: Sequence[Applied]) -> None:
    """Check that the files are those that were applied.

    Raises:
        ConfigurationError: one is not.
    """
    checksums = {line.id: line.checksum for line in history}
    for each in known:
        if each.id in checksums and not each.has(checksums[each.id]):
            raise ConfigurationError(
                f"{each.up} was changed after it was applied: restore it, and write a new one"
            )
