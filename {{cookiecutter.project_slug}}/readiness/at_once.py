"""K3: two messages at once, of which one overwrites what the other has done."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from acme_orders.chassis.database.statements import Statement

from readiness.catalog import tables_of
from readiness.meeting import Meeting
from readiness.order import Message, messages_of, send
from readiness.rehearsal import Rehearsal
from readiness.scratch import rows_of, session
from readiness.seeded import models_of

_READ = re.compile(r'\b(?:FROM|JOIN)\s+"?(\w+)', re.IGNORECASE)
_CHANGED = re.compile(r'^\s*(?:UPDATE|INSERT\s+INTO)\s+"?(\w+)', re.IGNORECASE)
_LOCKED = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b", re.IGNORECASE)
_WHEN = "at once"
_NUMBERED = """
SELECT relname || '.' || attname
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attidentity <> '' OR pg_get_expr(adbin, adrelid) LIKE 'nextval(%'
"""

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
        if not any(tables[one][each] or tables[other][each] for each in both):
            continue
        if lost := await _lost(rehearsal, messages[: messages.index(one)], one, other):
            yield (
                f"{one.type_} and {other.type_} at once leave other values in {', '.join(lost)} "
                "than one after the other: read the row with .for_update(), let the UPDATE count "
                "from what is there, or a sequence number what is new"
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
        if not _LOCKED.search(each.sql):
            read |= set(_READ.findall(each.sql))
        if change := _CHANGED.match(each.sql):
            found[change[1]] = found.get(change[1], False) or change[1] in read
    return found


async def _lost(
    rehearsal: Rehearsal, before: Sequence[Message], one: Message, other: Message
) -> list[str]:
    """Columns whose values neither order explains, and that are the same in each attempt."""
    ways = (one, other), (other, one)
    raced = [await _after(rehearsal, before, way, at_once=True) for way in ways]
    serial = [await _after(rehearsal, before, way) for way in ways]
    found = {name for each in raced for name in each if _new(name, each, serial)}
    if found:  # or is it a time, or made up anew by each attempt?
        again = await _after(rehearsal, before, (one, other))
        found = {name for name in found if again[name] == serial[0][name]}
    return sorted(found)


def _new(name: str, raced: Columns, serial: Sequence[Columns]) -> bool:
    return raced[name] not in [each[name] for each in serial]


async def _after(
    rehearsal: Rehearsal,
    before: Sequence[Message],
    way: tuple[Message, Message],
    *,
    at_once: bool = False,
) -> Columns:
    """What the slices have after these, on a database of its own.

    Args:
        rehearsal: of which another is made.
        before: what the two may need.
        way: the two; the first one commits first.
        at_once: whether the second one begins before that.
    """
    async with rehearsal.another(whole=False) as another:
        for each in before:
            await send(another, each, _WHEN)
        if at_once:
            await _meet(another, *way)
        for each in (*way, *way):  # one that came too early, once more
            await send(another, each, _WHEN)
        return await asyncio.to_thread(_columns, another)


async def _meet(rehearsal: Rehearsal, first: Message, second: Message) -> None:
    rehearsal.watch.meeting = meeting = Meeting(rehearsal.url, 2)
    process = rehearsal.service.consumer.process
    await asyncio.gather(
        meeting.attended(process([first.letter(rehearsal, _WHEN)])),
        meeting.after_the_other(process([second.letter(rehearsal, _WHEN)])),
        return_exceptions=True,  # whatever failed is tried again
    )
    rehearsal.watch.meeting = None


def _columns(rehearsal: Rehearsal) -> Columns:
    """All values of each column; no keys, because the order of messages decides about these.

    Nor of what a sequence numbers: a message that has to be tried again uses up a number.
    """
    found = dict[str, Counter[str]]()
    numbered = {name for (name,) in rows_of(rehearsal.url, _NUMBERED)}
    columns = {
        meta.table_name: [
            each.column_name
            for each in meta.sorted_fields
            if not each.primary_key
            and _place(each.rel_field if each in meta.refs else each) not in numbered
        ]
        for small in (False, True)
        for meta in (each._meta for each in models_of(rehearsal, small=small))  # noqa: SLF001
    }
    with session(rehearsal.url) as cursor:
        for table in columns.keys() & tables_of(rehearsal.url):  # K7 tells of the others
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" AS t')
            rows = [json.loads(text) for (text,) in cursor.fetchall()]
            for name in columns[table]:
                found[f"{table}.{name}"] = Counter(json.dumps(row.get(name)) for row in rows)
    return found


def _place(field: Any) -> str:
    return f"{field.model._meta.table_name}.{field.column_name}"  # noqa: SLF001
