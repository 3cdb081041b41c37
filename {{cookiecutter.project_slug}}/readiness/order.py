"""K3: messages that come again after later ones, and messages that come before earlier ones."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from readiness.catalog import contents_of
from readiness.letter import Letter
from readiness.rehearsal import Rehearsal
from readiness.seeded import growing
from readiness.watch import told

_ADDED = "SELECT type, count(*) FROM outbox GROUP BY type"
_EARLY = "before the messages that it needs"
_LATER = ": raise TryLater while what it needs is not there"


@dataclass(frozen=True, eq=False)
class Message:
    """One example of a handler."""

    type_: str
    number: int
    content: Mapping[str, Any]

    def identity(self, when: str) -> str:
        """Its id, one for each `when`."""
        return f"{self.type_}-{self.number}-{when}"

    def letter(self, rehearsal: Rehearsal, when: str) -> Letter:
        """As a delivery."""
        return rehearsal.letter(self.type_, self.identity(when), example=self.content)


@dataclass(frozen=True)
class Outcome:
    """What a message led to.

    Args:
        entered: whether the inbox has it.
        dead: whether it is a dead letter.
        error: that its transaction ended with, in words.
        changed: tables of slices whose rows are others now.
        added: events that were put into the outbox, by type.
    """

    entered: bool
    dead: bool
    error: str
    changed: frozenset[str]
    added: Counter[str]


async def disordered(rehearsal: Rehearsal) -> AsyncIterator[str]:
    """What another order of messages leads to that theirs does not.

    Args:
        rehearsal: where each handler has processed its first example.
    """
    found = [each async for each in _late(rehearsal)] if len(messages_of(rehearsal)) > 1 else []
    if len(rehearsal.service.handlers) > 1 and not found:
        async with rehearsal.another(whole=False) as another:
            found = [each async for each in _early(another)]
    for each in found:
        yield each


async def _late(rehearsal: Rehearsal) -> AsyncIterator[str]:
    """What a message changes that comes again, under another id, after those that follow it."""
    messages, blamed = messages_of(rehearsal), set[str]()
    for each in messages:
        if each.number:
            await send(rehearsal, each, "first")
    for each in messages:
        changed = (await send(rehearsal, each, "late")).changed - blamed
        blamed |= changed  # what another message then does to them is no fault of that one
        if changed:
            yield (
                f"{each.type_}: the same content, again after the messages that follow it, changes "
                f"{_listed(changed)}: say in the WHERE of its UPDATE which states it may leave, "
                "insert with insert_once, or compare a time or version that the message brings"
            )


async def _early(rehearsal: Rehearsal) -> AsyncIterator[str]:
    """What is lost of messages that come before those that they need."""
    messages, outcomes = messages_of(rehearsal), dict[Message, Outcome]()
    types = [*rehearsal.service.handlers]
    waiting = sorted(messages, key=lambda each: -types.index(each.type_))
    moves = True
    while moves:
        for each in waiting:
            outcomes[each] = await send(rehearsal, each, "early")
        left = [e for e in messages if not (outcomes[e].entered or outcomes[e].dead)]
        moves, waiting = bool(left) and len(left) < len(waiting), left
    for each in messages:
        was, now = outcomes[each], await send(rehearsal, each, "again")
        if was.entered and now.changed and was.added in (now.added, Counter()):
            yield (
                f"{each.type_}: {_EARLY} it is acknowledged, and what it should do to "
                f"{_listed(now.changed)} is lost{_LATER}"
            )
        elif now.entered and not was.entered:
            yield f"{each.type_}: {_EARLY} it becomes a dead letter, by {was.error}{_LATER}"


def messages_of(rehearsal: Rehearsal) -> list[Message]:
    """All examples of all handlers, in the order in which these are registered."""
    found = list[Message]()
    for type_, handler in rehearsal.service.handlers.items():
        with suppress(LookupError):  # K3 tells of a payload without an example
            found += [Message(type_, *each) for each in enumerate(handler.payload.examples())]
    return found


def _listed(tables: frozenset[str]) -> str:
    return ", ".join(sorted(tables))


async def send(rehearsal: Rehearsal, message: Message, when: str) -> Outcome:
    """Process a message; under the same `when` it is the same one that comes again."""
    service, failures = rehearsal.service, rehearsal.watch.failures
    identity, grave = message.identity(when), service.topology.dead_letters.name
    rows, added = await _rows(rehearsal), await _added(rehearsal)
    dead, failed = await service.broker.count(grave), len(failures)
    letter = message.letter(rehearsal, when)
    await service.consumer.process([letter])
    now = await _rows(rehearsal)
    return Outcome(
        bool(await rehearsal.rows("SELECT 1 FROM inbox WHERE id = %s", identity)),
        await service.broker.count(grave) > dead,
        told(failures[-1]) if failures[failed:] else "",
        frozenset(table for table in now if now[table] != rows.get(table)),
        await _added(rehearsal) - added,
    )


async def _rows(rehearsal: Rehearsal) -> Mapping[str, Counter[str]]:
    """Of the tables of slices; what events say of them may differ."""
    ours = growing(rehearsal) | growing(rehearsal, small=True)
    found = await asyncio.to_thread(contents_of, rehearsal.url)
    named = {table.rpartition(".")[2]: rows for table, rows in found.items()}
    return {table: named[table] for table in ours & named.keys()}


async def _added(rehearsal: Rehearsal) -> Counter[str]:
    return Counter({str(type_): int(number) for type_, number in await rehearsal.rows(_ADDED)})
