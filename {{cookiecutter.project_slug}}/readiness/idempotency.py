"""K3: what happens when the same thing is asked for again."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from acme_orders.chassis.database.statements import Statement
from acme_orders.chassis.messaging.inbox import Inbox

from readiness.at_once import overwritten
from readiness.catalog import contents_of, has_inbox_key
from readiness.check import Check
from readiness.keys import second_keys
from readiness.meeting import Meeting
from readiness.order import disordered
from readiness.rehearsal import Rehearsal
from readiness.requests import read, repeated  # feature: http_api
from readiness.watch import told

Contents = Mapping[str, Counter[str]]


class RetriesAreIdempotent(Check):
    """Retried operations are idempotent."""

    id = "K3"
    whole = False

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Give what a handler stores a unique key from the message, and use insert_once with it.

        Do nothing more when the row was there. What an UPDATE sets is the same the second time: a
        time from the message, not that of now. The inbox keeps its key (consumer, source, id). Each
        payload needs an example that its handler accepts after those registered before it. Messages
        come in any order: what comes too early is tried later, what comes late changes nothing.
        Messages come at once: what is read to be changed is read with for_update().
        """
        self.inspected += 1
        if not await asyncio.to_thread(has_inbox_key, rehearsal.url):
            yield "the inbox has no valid unique index exactly on (consumer, source, id)"
        async with rehearsal.another(whole=False) as race, rehearsal.another(whole=False) as twins:
            sound = True
            for type_ in rehearsal.service.handlers:
                self.inspected += 1
                async with aclosing(_handler(rehearsal, race, twins, type_)) as findings:
                    async for finding in findings:
                        sound = False
                        yield f"{type_}: {finding}"
            if sound:
                async for finding in disordered(rehearsal):
                    yield finding
                async for finding in overwritten(rehearsal):
                    yield finding
            else:
                self.left_out.append(("messages in another order", "one alone comes first"))
            # feature: http_api {
            for some in (
                read(rehearsal, _everything),
                repeated(rehearsal, race, _everything, _growth),
            ):
                async with aclosing(some) as told:
                    async for request, finding in told:
                        self.inspected += not finding
                        if finding:
                            yield f"{request}: {finding}"
            # feature: http_api }


async def _handler(
    serial: Rehearsal, race: Rehearsal, twins: Rehearsal, type_: str
) -> AsyncGenerator[str, None]:
    one, other = f"{type_}-1", f"{type_}-2"
    try:
        serial.letter(type_, one)
    except LookupError as error:
        yield str(error)
        return
    empty = await _contents(serial)
    complaint = await _deliver(serial, type_, one)
    if complaint:
        yield f"the example {complaint}"
        return
    once, sent = await _contents(serial), list(serial.statements)
    for what, identities in (
        ("the same message again", [one]),
        ("the same message twice at once", [one, one]),
        ("the same content under another id", [other]),
    ):
        seen = len(serial.statements)
        if complaint := await _deliver(serial, type_, *identities):
            yield f"{what} {complaint}"
        elif one in identities and _beyond_inbox(serial.statements[seen:]):
            yield f"{what} reaches the handler, though the inbox knows it"
        now = await _contents(serial)
        if tables := _differing(once, now):
            yield f"{what} changes {', '.join(tables)}"
    growth = _growth(empty, once)
    for what, rehearsal, identities in (
        ("two deliveries of a new message at once", race, [one, one]),
        ("two new messages with the same content at once", twins, [one, other]),
    ):
        for finding in await _raced(rehearsal, type_, what, identities, growth):
            yield finding
    async for finding in second_keys(serial, race, sent):
        yield finding


async def _raced(
    rehearsal: Rehearsal,
    type_: str,
    what: str,
    identities: Sequence[str],
    growth: Mapping[str, int],
) -> list[str]:
    """What two that are processed at once do otherwise than one, whose rows are `growth`."""
    before = await _contents(rehearsal)
    complaint = await _deliver(rehearsal, type_, *identities)
    found = [f"at least one of {what} {complaint}"] if complaint else []
    if tables := _differing(growth, _growth(before, await _contents(rehearsal))):
        found.append(f"{what} leave other numbers of rows than one in {', '.join(tables)}")
    return found


async def _deliver(rehearsal: Rehearsal, type_: str, *identities: str) -> str:
    """Process these at once; says what is wrong with how they ended, if something is."""
    aside, failed = await rehearsal.set_aside(), len(rehearsal.watch.failures)
    letters = [rehearsal.letter(type_, identity) for identity in identities]
    rehearsal.watch.meeting = meeting = Meeting(rehearsal.url, len(letters))
    process = rehearsal.service.consumer.process
    outcomes = await asyncio.gather(
        *(meeting.attended(process([letter])) for letter in letters), return_exceptions=True
    )
    rehearsal.watch.meeting = None
    if errors := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
        return f"ends with {errors[0]!r}"
    why = f": {told(rehearsal.watch.failures[-1])}" if rehearsal.watch.failures[failed:] else ""
    if any(outcomes):
        return f"waits as if the database were the cause{why}"
    if await rehearsal.set_aside() > aside:
        return f"is retried later or becomes a dead letter{why}"
    if not all(letter.acked for letter in letters):
        return "is not acknowledged"
    entered = await rehearsal.rows(
        "SELECT id FROM inbox WHERE id = ANY (%s)", sorted(set(identities))
    )
    if len(entered) != len(set(identities)):
        return f"has {len(entered)} entries in the inbox"
    return ""


def _beyond_inbox(statements: Sequence[Statement]) -> bool:
    known = {query.name for query, _ in Inbox.queries()}
    return any(each.query not in known for each in statements)


async def _everything(rehearsal: Rehearsal) -> Contents:
    return await asyncio.to_thread(contents_of, rehearsal.url)


async def _contents(rehearsal: Rehearsal) -> Contents:
    """Everything but the inbox, which has its own rule: one entry for each id."""
    contents = await _everything(rehearsal)
    return {table: rows for table, rows in contents.items() if table.rpartition(".")[2] != "inbox"}


def _growth(before: Contents, after: Contents) -> Mapping[str, int]:
    return {table: after[table].total() - before[table].total() for table in after}


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return sorted(
        table for table in one.keys() | other.keys() if one.get(table) != other.get(table)
    )
