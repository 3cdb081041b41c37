"""Which dead letters a decision is about: those that wait when it begins, and no later ones."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any
from uuid import UUID

from acme_orders.chassis.database.unit_of_work import Transaction
from acme_orders.chassis.dead_letters.store import DeadLetters, Selection
from acme_orders.chassis.errors import ServiceError

AT_ONCE = 500  # looked up together
MOST_LINES = 1000  # of a list


class Unknown(ServiceError):
    """There is no dead letter with this id."""


def looking(dead_letters: DeadLetters) -> AbstractAsyncContextManager[Transaction]:
    """The transaction in which dead letters are looked at."""
    return dead_letters.manager.transaction("dead_letters.look", read_only=True)


async def listed(
    dead_letters: DeadLetters, wanted: Selection, *, each: bool, limit: int
) -> tuple[list[Any], str, int]:
    """Groups, or single ones; then how many there are beyond the limit too: in words, of these."""
    async with looking(dead_letters):
        if each:
            count, _ = await dead_letters.count(wanted)
            page = await dead_letters.page(wanted, limit=limit)
            return list(page), _so_many(count, "dead letter"), count
        found = await dead_letters.groups(wanted, limit=limit)
    said = f"{_so_many(found.letters, 'dead letter')} in {_so_many(found.count, 'group')}"
    return found.shown, said, found.count


def _so_many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


async def choose(
    dead_letters: DeadLetters, wanted: Selection, limit: int | None
) -> tuple[int, AsyncIterator[UUID]]:
    """How many wait that are meant, and their ids; not those that are set aside meanwhile.

    Raises:
        Unknown: there is none of some id.
    """
    async with looking(dead_letters):
        known, now = await dead_letters.count(replace(wanted, state=None))
        count, _ = await dead_letters.count(wanted)
    if (unknown := len(set(wanted.ids)) - known) > 0:
        raise Unknown(f"{unknown} of these ids are unknown; `list --each` shows what is there")
    meant = min(count, limit or count)
    return meant, _ids(dead_letters, replace(wanted, until=now), meant)


async def _ids(dead_letters: DeadLetters, wanted: Selection, meant: int) -> AsyncIterator[UUID]:
    after = None
    while meant > 0:
        async with looking(dead_letters):
            page = await dead_letters.page(wanted, after=after, limit=min(meant, AT_ONCE))
        for each in page:
            yield each.id
        if not page:
            return
        after, meant = (page[-1].archived_at, page[-1].id), meant - len(page)
