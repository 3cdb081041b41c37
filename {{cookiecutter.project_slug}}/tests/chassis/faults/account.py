"""What came of all that was sent: the account of a fault, in the terms of Jepsen."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from acme_orders.chassis.messaging.topology import Topology

from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load, Sent
from tests.chassis.faults.site import Site

_STEADY = 0.5  # seconds; a message on its way from one queue to another is in none of them
_DEAD = "SELECT message_id FROM dead_letters WHERE state <> 'replayed'"  # those are sent again
_EFFECTS = "SELECT payload->>'sale_id', count(*) FROM journal GROUP BY 1"


@dataclass
class Account:
    """Numbers of messages.

    Args:
        attempted: published, each counted once.
        acknowledged: confirmed to the client.
        ok: acknowledged, and ended where it should, exactly once.
        lost: acknowledged, and nowhere.
        duplicated: with two effects, or two events of different ids.
        unexpected: another end than was meant, half an effect, an effect of nothing that was sent.
        recovered: not acknowledged, and took effect all the same.
        dead: message ids of the dead letters, as often as they are there.
        left: what was still waiting when patience was over.
        notes: what is wrong, in words.
    """

    attempted: int = 0
    acknowledged: int = 0
    ok: int = 0
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    recovered: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail unless all that was acknowledged is ok, and nothing else happened."""
        assert not self.notes, "\n".join(self.notes[:20])
        assert (self.lost, self.duplicated, self.unexpected) == (0, 0, 0)
        assert self.ok == self.acknowledged
        assert self.attempted, "nothing was sent, so nothing is proved"

    def row(self) -> dict[str, Any]:
        """The numbers, for the table at the end."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int)}

    def add(self, number: str, why: str) -> None:
        """Count one message, and say why."""
        setattr(self, number, getattr(self, number) + 1)
        self.notes.append(f"{number}: {why}")


@dataclass(frozen=True)
class Found:
    """What is there when everything is quiet."""

    effects: Counter[str]  # by sale
    events: dict[str, list[str]]  # message ids by sale
    entered: set[str]  # message ids in the inbox
    dead: Counter[str]  # message ids of dead letters, archived or not

    def of(self, sent: Sent) -> tuple[int, int, bool]:
        """Effects, different events, and whether the inbox has it."""
        events = len(set(self.events.get(sent.sale, ())))
        return self.effects[sent.sale], events, sent.id in self.entered


async def settled(site: Site, loads: Sequence[Load], fleet: Fleet, *, within: float) -> Account:
    """Wait until everything is quiet, stop all processes, and count.

    Args:
        site: of the fault.
        loads: all that was sent.
        fleet: that has to bring it to an end.
        within: seconds; then what is left is counted as it is, and named.
    """
    sent = [each for load in loads for each in load.attempted.values()]
    acknowledged = {identity for load in loads for identity in load.acknowledged}
    await _quiet(site, acknowledged, fleet, within=within)
    await asyncio.gather(*(member.look() for member in fleet.members if member.running))
    ended = await fleet.terminate()
    # What a process had in its hands is back in the queue now, and so it is counted, too.
    account = tally(sent, acknowledged, await _find(site))
    account.left = await site.waiting()
    if account.left:
        account.notes.append(f"left after {within:g} s: {account.left}")
    account.notes += [f"a process ended with {status}" for status, _ in ended if status]
    return account


def tally(sent: Sequence[Sent], acknowledged: set[str], found: Found) -> Account:
    """Compare what was sent with what was found; nothing is read or waited for here."""
    account = Account(attempted=len(sent), acknowledged=len(acknowledged), dead=found.dead)
    for each in sent:
        _judge(account, each, found, acknowledged=each.id in acknowledged)
    ours = {each.sale for each in sent}
    for sale in (found.effects.keys() | found.events.keys()) - ours:
        account.add("unexpected", f"sale {sale} was never sent")
    for identity in found.dead.keys() - {each.id for each in sent}:
        account.add("unexpected", f"dead letter {identity} was never sent")
    return account


def _judge(account: Account, sent: Sent, found: Found, *, acknowledged: bool) -> None:
    effects, events, entered = found.of(sent)
    dead = found.dead[sent.id]
    about = f"{sent.id}: {effects} effects, {events} events, {entered=}, {dead} dead letters"
    once, nothing = (effects, events, entered) == (1, 1, True), not (effects or events or entered)
    if effects > 1 or events > 1:
        account.add("duplicated", about)
    elif (once and not dead and sent.expected != "dead letter") or (
        nothing and dead == 1 and sent.expected != "effect"
    ):
        account.ok += acknowledged
        account.recovered += not acknowledged
    elif nothing and not dead:
        if acknowledged:
            account.add("lost", about)
    else:
        account.add("unexpected", f"{about}, expected {sent.expected}")


async def _quiet(site: Site, acknowledged: set[str], fleet: Fleet, *, within: float) -> None:
    """Nothing waits or is in hand: of that, some could go to the end of a queue, or set apart."""
    until, since = time.monotonic() + within, 0.0
    while time.monotonic() < until:
        still = (
            not await site.waiting()
            and acknowledged <= await _ended(site)
            and not await fleet.metric("messages_in_flight")
        )
        since = (since or time.monotonic()) if still else 0.0
        if still and time.monotonic() - since >= _STEADY:
            return
        await asyncio.sleep(0.1)


async def _ended(site: Site) -> set[str]:
    ended = f"{site.entered} UNION {_DEAD}"
    return {identity for (identity,) in await site.rows(ended)}


async def _find(site: Site) -> Found:
    effects = await site.rows(_EFFECTS)
    dead = Counter(str(each) for (each,) in await site.rows(f"{_DEAD}{site.late}"))
    for incoming in await site.taken(_dead_letters(site.topology)):
        dead[str(incoming.message_id)] += 1
    return Found(
        effects=Counter(dict(effects)),
        events=await site.announced(),
        entered={identity for (identity,) in await site.rows(site.entered)},
        dead=dead,
    )


def _dead_letters(topology: Topology) -> str:
    return topology.dead_letters.name
