"""What the history of migrations says about their files."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from acme_orders.database.migration_files import Migration
from acme_orders.errors import ConfigurationError


class Applied(NamedTuple):
    """A line of the history."""

    id: str
    checksum: str
    at: datetime
    milliseconds: int

    @property
    def number(self) -> int:
        """Its place in the order."""
        return int(self.id[:4])


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
    """Check that pending migrations come after all that are applied.

    Where two branches meet, each may have given a number that the other does not know of.

    Raises:
        ConfigurationError: one does not.
    """
    if not lacking:
        return
    late = lacking[0].id
    others = (line for line in applied if line.id != late)  # it may be applied to another schema
    last = max(others, key=lambda line: line.number, default=None)
    if last and lacking[0].number <= last.number:
        free = max(last.number, known[-1].number) + 1
        raise ConfigurationError(
            f"{late} is pending, but {last.id} is applied, and migrations are applied in their "
            f"order: call its files {free:04}{late[4:]}; or, if it is applied elsewhere under this "
            "number, take back here what comes after it (`migrate down`)"
        )


def newest_first(
    known: Sequence[Migration], history: Sequence[Applied], count: int
) -> list[Migration]:
    """The last `count` that were applied, as they are to be taken back.

    Raises:
        ConfigurationError: one was changed after it was applied, or its files are gone.
    """
    refuse_changed(known, history)
    migrations = {each.id: each for each in known}
    lines = sorted(history, key=lambda line: line.id, reverse=True)[:count]
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
