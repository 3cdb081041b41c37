"""K3: two messages at once, of which one overwrites what the other has done."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import combinations

from acme_orders.chassis.database.statements import Statement

from readiness.meeting import Meeting
from readiness.order import Message, messages_of, send
from readiness.rehearsal import Rehearsal
from readiness.scratch import session
from readiness.seeded import models_of

_READ = re.compile(r'\b(?:FROM|JOIN)\s+"?(\w+)', re.IGNORECASE)
_CHANGED = re.compile(
    r'^\s*UPDATE\s+"?(\w+)|^\s*INSERT\s+INTO\s+"?(\w+).*\bDO\s+UPDATE\b',
    re.IGNORECASE | re.DOTALL,
)
_LOCKED = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b", re.IGNORECASE)
_WHEN = "at once"

Columns = Mapping[str, Counter[str]]  # by table and column: the values of all rows


async def overwritten(rehearsal: Rehearsal) -> AsyncIterator[str]:
    """Columns that two messages at once leave as neither order of them does.

    Args:
        rehearsal: of which others are made.
    """
    messages = messages_of(rehearsal)
    tables = await _read_and_changed(rehearsal, messages)
    for one, other in combinations(messages, 2):
        both = tables[one].keys() & tables[other].keys()
        if any(tables[one][each] or tables[other][each] for each in both):
            for column in await _lost(rehearsal, messages[: messages.index(one)], one, other):
                yield (
                    f"{one.type_} and {other.type_} at once leave other values in {column} than "
                    "one after the other: read the row with .for_update(), or let the UPDATE count "
                    "from what is there"
                )


async def _read_and_changed(
    rehearsal: Rehearsal, messages: Sequence[Message]
) -> Mapping[Message, Mapping[str, bool]]:
    """Tables that each message changes, and whether it has read them before, without a lock."""
    found = dict[Message, Mapping[str, bool]]()
    async with rehearsal.another(whole=False) as another:
        for each in messages:
            seen = len(another.statements)
            await send(another, each, _WHEN)
            found[each] = _changed(another.statements[seen:])
    return found


def _changed(statements: Sequence[Statement]) -> Mapping[str, bool]:
    read, found = set[str](), dict[str, bool]()
    for each in statements:
        if change := _CHANGED.match(each.sql):
            table = change[1] or change[2]
            found[table] = found.get(table, False) or table in read
        elif not _LOCKED.search(each.sql):
            read |= set(_READ.findall(each.sql))
    return found


async def _lost(
    rehearsal: Rehearsal, before: Sequence[Message], one: Message, other: Message
) -> list[str]:
    """Columns whose values neither order explains, and that are the same in each attempt."""
    raced = await _after(rehearsal, before, (one, other), at_once=True)
    serial = [await _after(rehearsal, before, (one, other))]
    if raced == serial[0]:
        return []
    serial.append(await _after(rehearsal, before, (other, one)))
    found = [name for name in raced if raced[name] not in [each[name] for each in serial]]
    if found:  # or is it a time, or made up anew by each attempt?
        again = await _after(rehearsal, before, (one, other))
        found = [column for column in found if again[column] == serial[0][column]]
    return found


async def _after(
    rehearsal: Rehearsal,
    before: Sequence[Message],
    pair: tuple[Message, Message],
    *,
    at_once: bool = False,
) -> Columns:
    """What the slices have after these, on a database of its own."""
    async with rehearsal.another(whole=False) as another:
        for each in before:
            await send(another, each, _WHEN)
        if at_once:
            await _meet(another, pair)
        for each in (*pair, *pair):  # one that came too early, once more
            await send(another, each, _WHEN)
        return await asyncio.to_thread(_columns, another)


async def _meet(rehearsal: Rehearsal, pair: tuple[Message, Message]) -> None:
    rehearsal.watch.meeting = meeting = Meeting(rehearsal.url, len(pair))
    process = rehearsal.service.consumer.process
    work = (meeting.attended(process([each.letter(rehearsal, _WHEN)])) for each in pair)
    await asyncio.gather(*work)
    rehearsal.watch.meeting = None


def _columns(rehearsal: Rehearsal) -> Columns:
    """But for keys, which the order decides."""
    found = dict[str, Counter[str]]()
    models = [*models_of(rehearsal), *models_of(rehearsal, small=True)]
    with session(rehearsal.url) as cursor:
        for meta in (each._meta for each in models):  # noqa: SLF001
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{meta.table_name}" AS t')
            rows = [json.loads(text) for (text,) in cursor.fetchall()]
            for field in meta.sorted_fields:
                if not field.primary_key:
                    name = f"{meta.table_name}.{field.column_name}"
                    found[name] = Counter(json.dumps(row[field.column_name]) for row in rows)
    return found
