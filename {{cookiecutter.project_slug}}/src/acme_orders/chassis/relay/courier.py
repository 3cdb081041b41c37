"""Brings a batch of events to the broker, and finds out what became of each.

A message that ends the channel or the connection takes all others with it that are under way, and
nobody can tell which one it was. So those without an answer go alone, on a connection of their own.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from uuid import uuid4

from acme_orders.chassis.errors import (
    ChannelDenied,
    PublishFailed,
    Unconfirmed,
    Unpublishable,
    Unroutable,
)
from acme_orders.chassis.messaging.broker import Broker, Message, Publish
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE
from acme_orders.chassis.relay.outgoing import Outgoing
from acme_orders.chassis.supervision import apart, cancelled

MOST_ATTEMPTS = 3  # at an event that ended a connection of its own while another one lived
_MOST_BLAMED = 10  # events without a success between them


class Fate(Enum):
    """What became of an event.

    CONFIRMED: the broker has it. UNHEARD, REFUSED, UNCONFIRMED: the broker does not take events of
    this type. UNPUBLISHABLE: it never takes this one. DANGEROUS: it ended a connection that was its
    own, while the broker was well. UNTRIED: nobody knows; it waits as if nobody had taken it.
    """

    CONFIRMED = "confirmed"
    UNHEARD = "unheard"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"
    UNPUBLISHABLE = "unpublishable"
    DANGEROUS = "dangerous"
    UNTRIED = "untried"


PARKED = frozenset({Fate.UNHEARD, Fate.REFUSED, Fate.UNCONFIRMED})  # the type is, not the event


@dataclass(frozen=True, slots=True)
class Outcome:
    """An event, what became of it, and the error that says so."""

    event: Outgoing
    fate: Fate
    error: BaseException | None = None


class Courier:
    """Publishes events; no error is too strange to be an outcome.

    Args:
        broker: where they go.
        exchange: that consumers of our events bind their queues to.
        source: the name that we publish under.
    """

    def __init__(self, broker: Broker, *, exchange: str, source: str) -> None:
        self._broker, self._exchange, self._source = broker, exchange, source
        self._suspects: set[int] = set()
        self._blamed: set[int] = set()  # since an event was confirmed

    async def send(self, events: Sequence[Outgoing]) -> list[Outcome]:
        """Publish events, and say what became of each.

        Those that may have ended a connection go alone, one after the other.
        """
        alone = [each for each in events if self._is_suspect(each)]
        together = [each for each in events if not self._is_suspect(each)]
        outcomes = await asyncio.gather(
            *(self._publish(each, self._broker.publish) for each in together)
        )
        if any(isinstance(each.error, Unconfirmed) for each in outcomes) and await self._is_well():
            outcomes = [_silent(each) for each in outcomes]
        untried = (each for each in outcomes if each.fate is Fate.UNTRIED)
        lost = {each.event.id for each in untried if not isinstance(each.error, Unconfirmed)}
        if lost:
            self._suspects = lost | self._suspects.intersection(each.id for each in alone)
        judged = await self._alone(alone)
        self._suspects -= {each.event.id for each in judged if each.fate is not Fate.UNTRIED}
        return [*outcomes, *judged]

    def _is_suspect(self, event: Outgoing) -> bool:
        return event.attempts > 0 or event.id in self._suspects

    async def _publish(self, event: Outgoing, publish: Publish) -> Outcome:
        """As one of many: what happens to the connection may be another's doing."""
        try:
            message = event.message(self._source)
            await publish(message, exchange=self._exchange, routing_key=event.type)
        except Unpublishable as error:
            return Outcome(event, Fate.UNPUBLISHABLE, error)
        except Unroutable as error:
            return Outcome(event, Fate.UNHEARD, error)
        except PublishFailed as error:
            return Outcome(event, Fate.REFUSED, error)
        except BaseException as error:  # asyncio would stop the loop because of a SystemExit
            if cancelled():
                raise
            return Outcome(event, Fate.UNTRIED, error)
        self._blamed.clear()
        return Outcome(event, Fate.CONFIRMED)

    async def _alone(self, events: Sequence[Outgoing]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        left = list(events)
        while left:
            try:
                await apart(partial(self._elsewhere, left, outcomes))
            except Exception as error:
                if not await self._is_well():
                    return outcomes + [Outcome(each, Fate.UNTRIED, error) for each in left]
                # RabbitMQ allows no more connections. On the one that all share nothing is proved.
                if left:
                    outcomes.append(await self._publish(left.pop(0), self._broker.publish))
        return outcomes

    async def _elsewhere(self, left: list[Outgoing], outcomes: list[Outcome]) -> None:
        """Publish events on a connection of their own, one by one, as long as it is there.

        Args:
            left: the events; those that were tried are taken out.
            outcomes: where it is added what became of them.
        """
        async with self._broker.apart() as publish:
            await _works(publish)
            answered = True
            while left and answered:
                outcome = await self._publish(left.pop(0), publish)
                if not (answered := outcome.fate is not Fate.UNTRIED):
                    outcome = await self._verdict(outcome)
                outcomes.append(outcome)
                if outcome.fate in PARKED:  # so are the others of its type
                    alike = [each for each in left if each.type == outcome.event.type]
                    outcomes += [Outcome(each, outcome.fate, outcome.error) for each in alike]
                    left[:] = [each for each in left if each not in alike]

    async def _verdict(self, outcome: Outcome) -> Outcome:
        """What an event that was alone on its connection is to blame for.

        Nothing, if the connection that all share is lost too: then it is an outage. And nothing if
        many fail, one after the other, and none succeeds: then it is not the events.
        """
        event, error = outcome.event, outcome.error
        self._blamed.add(event.id)
        if len(self._blamed) > _MOST_BLAMED or not await self._is_well():
            return outcome
        if isinstance(error, Unconfirmed):
            return Outcome(event, Fate.UNCONFIRMED, error)
        if isinstance(error, ChannelDenied):
            return Outcome(event, Fate.REFUSED, error)
        last = event.attempts + 1 >= MOST_ATTEMPTS
        return Outcome(event, Fate.UNPUBLISHABLE if last else Fate.DANGEROUS, error)

    async def _is_well(self) -> bool:
        try:
            await apart(self._broker.ping)
        except Exception:
            return False
        return True


async def _works(publish: Publish) -> None:
    """Publish something for nobody: what fails on this connection now is to blame itself.

    Raises:
        BrokerUnavailable: it does not work.
    """
    nobody = str(uuid4())
    with suppress(Unroutable, ChannelDenied):  # an answer, either way
        await publish(Message(b"", nobody), exchange=DEFAULT_EXCHANGE, routing_key=nobody)


def _silent(outcome: Outcome) -> Outcome:
    """The broker is well, and a queue for this type does not answer."""
    if not isinstance(outcome.error, Unconfirmed):
        return outcome
    return Outcome(outcome.event, Fate.UNCONFIRMED, outcome.error)
