"""Dead letters in PostgreSQL, where they can be looked at, counted and decided about."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import peewee

from acme_orders.chassis.database.repository import Repository, query
from acme_orders.chassis.dead_letters.record import DeadLetter
from acme_orders.chassis.dead_letters.table import (
    DeadLetterRow,
    letter_of,
    row_of,
    whole,
)

_NOBODY = UUID(int=0)
# What a stranger calls his messages makes no group: he could bury all others under his.
_NAMED = peewee.SQL("CASE WHEN reason NOT IN ('malformed', 'unknown_type') THEN type END")
_ONE_NAME = peewee.SQL("CASE WHEN count(DISTINCT coalesce(type, '')) = 1 THEN min(type) END")
_KEPT = DeadLetter(
    id=_NOBODY, headers={}, properties={}, body=b"", body_bytes=0, failed_at=datetime.now(UTC)
)


class State(StrEnum):
    """What was decided about a dead letter; nothing yet, while it waits."""

    waiting = "waiting"
    replayed = "replayed"
    discarded = "discarded"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: those that are all of this.

    Args:
        state: None for any.
        ids: any of these.
        until: not archived after this; a replay that fails comes back as a new one.
        message_ids: of messages, any of these.
    """

    state: State | None = State.waiting
    ids: tuple[UUID, ...] = ()
    reason: str | None = None
    fingerprint: str | None = None
    type: str | None = None
    until: datetime | None = None
    message_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters that look alike; `example` is the id of one."""

    reason: str
    type: str | None
    fingerprint: str | None
    error_type: str | None
    count: int
    first: datetime
    last: datetime
    example: str


@dataclass(frozen=True, slots=True)
class Groups:
    """The largest groups, and of how many they are.

    Args:
        shown: these.
        count: of all groups.
        letters: in all groups.
    """

    shown: list[Group]
    count: int = 0
    letters: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list of dead letters shows."""

    id: UUID
    archived_at: datetime
    state: str
    reason: str
    type: str | None
    message_id: str | None
    error_type: str | None
    replays: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a dead letter, and when."""

    state: str
    archived_at: datetime
    decided_at: datetime | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a decision; `count` counts no further than its limit."""

    count: int
    oldest_seconds: float


class DeadLetters(Repository):
    """Stores and finds dead letters, whoever they belong to."""

    machinery = True

    across_tenants = True  # feature: row, rls, schema

    @query("dead_letters.archive", writes=True, example={"letters": [_KEPT]})
    async def archive(self, letters: Sequence[DeadLetter]) -> set[UUID]:
        """Store those that are not there yet; returns their ids."""
        rows = [row_of(each) for each in sorted(letters, key=lambda each: each.id)]
        insert = DeadLetterRow.insert_many(rows).on_conflict(
            action="NOTHING", conflict_target=[DeadLetterRow.id]
        )
        return {row["id"] for row in await self.fetch_all(insert.returning(DeadLetterRow.id))}

    @query("dead_letters.groups", example={"selection": Selection()})
    async def groups(self, selection: Selection, *, limit: int = 100) -> Groups:
        """Those that look alike together, the largest group first."""
        row, count = DeadLetterRow, peewee.fn.count(DeadLetterRow.id)
        alike = (row.reason, row.fingerprint, row.error_type)
        rows = await self.fetch_all(
            row.select(
                *alike,
                _ONE_NAME.alias("type"),
                count.alias("count"),
                peewee.fn.min(row.failed_at).alias("first"),
                peewee.fn.max(row.failed_at).alias("last"),
                peewee.fn.min(row.id.cast("text")).alias("example"),
                peewee.fn.count(count).over().alias("groups"),
                peewee.fn.sum(count).over().alias("letters"),
            )
            .where(*_meant(selection))
            .group_by(*alike, _NAMED)
            .order_by(count.desc(), row.reason)
            .limit(limit)
        )
        names = [each.name for each in fields(Group)]
        shown = [Group(**{name: each[name] for name in names}) for each in rows]
        return Groups(shown, *(int(rows[0][each]) for each in ("groups", "letters") if rows))

    @query(
        "dead_letters.page",
        example={"selection": Selection(), "after": (datetime(1970, 1, 1, tzinfo=UTC), _NOBODY)},
    )
    async def page(
        self,
        selection: Selection,
        *,
        after: tuple[datetime, UUID] | None = None,
        limit: int = 100,
    ) -> list[Summary]:
        """Single ones, the oldest first; `after` is `archived_at` and id of the last one before."""
        row = DeadLetterRow
        columns = (getattr(row, each.name) for each in fields(Summary))
        select = row.select(*columns).where(*_meant(selection))
        order = (row.archived_at, row.id)
        return await self.fetch_page(select, Summary, order=order, after=after, limit=limit)

    @query("dead_letters.count", example={"selection": Selection()})
    async def count(self, selection: Selection) -> tuple[int, datetime]:
        """How many there are, and the time of that by the clock of PostgreSQL."""
        row = await self.fetch_one(
            DeadLetterRow.select(
                peewee.fn.count(DeadLetterRow.id).alias("count"), peewee.fn.now().alias("time")
            ).where(*_meant(selection))
        )
        assert row is not None
        return row["count"], row["time"]

    @query("dead_letters.by_id", example={"identity": _NOBODY})
    async def by_id(self, identity: UUID) -> tuple[DeadLetter, Decision] | None:
        """One dead letter, and what was decided about it."""
        row = DeadLetterRow
        found = await self.fetch_one(
            whole(row.state, row.archived_at, row.decided_at, row.note).where(row.id == identity)
        )
        if found is None:
            return None
        names = ("state", "archived_at", "decided_at", "note")
        return letter_of(found), Decision(**{name: found.pop(name) for name in names})

    @query("dead_letters.take", writes=True, example={"identity": _NOBODY})
    async def take(self, identity: UUID) -> DeadLetter | None:
        """Keep a waiting one from all others until COMMIT; None if somebody else has or had it."""
        row = DeadLetterRow
        found = await self.fetch_one(
            whole()
            .where(row.id == identity, row.state == State.waiting.value)
            .for_update("FOR UPDATE SKIP LOCKED")
        )
        return letter_of(found) if found else None

    @query("dead_letters.decide", writes=True, example={"ids": [_NOBODY], "state": State.discarded})
    async def decide(self, ids: Sequence[UUID], state: State, *, note: str | None = None) -> int:
        """Say what became of those that wait; returns how many did."""
        row = DeadLetterRow
        return await self.manager.execute(
            row.update(state=state.value, decided_at=peewee.fn.now(), note=note).where(
                row.id.in_(list(ids)), row.state == State.waiting.value
            )
        )

    @query("dead_letters.backlog")
    async def backlog(self) -> Backlog:
        """How much waits, for metrics; counts no further than 10,000."""
        rows = await self.fetch_sql(
            """
            SELECT count(*), coalesce(extract(epoch FROM now() - min(archived_at)), 0)
            FROM (
                SELECT archived_at FROM dead_letters WHERE state = 'waiting'
                ORDER BY archived_at LIMIT 10000
            ) AS waiting
            """
        )
        count, oldest = rows[0]
        return Backlog(int(count), float(oldest))


def _meant(selection: Selection) -> list[Any]:
    row, alike = DeadLetterRow, ("reason", "fingerprint", "type")
    given = {name: getattr(selection, name) for name in alike}
    states = State if selection.state is None else (selection.state,)
    found = [row.state.in_([each.value for each in states])]
    found += [getattr(row, name) == value for name, value in given.items() if value is not None]
    if selection.ids:
        found.append(row.id.in_(list(selection.ids)))
    if selection.message_ids:
        found.append(row.message_id.in_(list(selection.message_ids)))
    if selection.until is not None:
        found.append(row.archived_at <= selection.until)
    return found
