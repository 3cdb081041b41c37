"""Dead letters back to where they failed, and only when they are there it is written down.

A message goes to the queue of the service, an event of ours to the outbox.
"""

import asyncio
import time
from dataclasses import replace
from enum import Enum
from uuid import UUID

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.dead_letters.store import DeadLetters, State
from acme_orders.chassis.errors import Unpublishable
from acme_orders.chassis.messaging.broker import Broker
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE
from acme_orders.chassis.relay.set_aside import SetAside


class Outcome(Enum):
    """What became of a dead letter that was to be replayed.

    PASSED_OVER: it does not wait any more, or somebody else is replaying it. IMPOSSIBLE: its body
    was too large to be kept, or its headers were no AMQP; it still waits.
    """

    REPLAYED = "replayed"
    PASSED_OVER = "passed over"
    IMPOSSIBLE = "impossible"


class Replay:
    """Replays dead letters one by one, no faster than `rate` in a second.

    Killed at any point it can be run again: what was published and not yet marked is published a
    second time under the same id, and the inbox drops it. Several may run at once.

    Args:
        queue: where the copies go.
        broker: that has this queue.
        manager: holds the row while its message is published, so that nobody else does the same.
        dead_letters: where they are.
        set_aside: takes events back.
        rate: most messages in a second.
    """

    def __init__(
        self,
        *,
        queue: str,
        broker: Broker,
        manager: Manager,
        dead_letters: DeadLetters,
        set_aside: SetAside,
        rate: float,
    ) -> None:
        self._queue, self._broker = queue, broker
        self._manager, self._dead_letters = manager, dead_letters
        self._set_aside = set_aside
        self._pause, self._next = 1 / rate, 0.0

    async def send(
        self, identity: UUID, *, note: str | None = None, body: bytes | None = None
    ) -> Outcome:
        """Replay one, if it still waits and nobody else is doing it.

        Args:
            identity: of it.
            note: to be written down with it.
            body: to be sent instead of its own, which stays stored; not that of an event.

        Raises:
            BrokerUnavailable: RabbitMQ did not confirm it; it still waits.
            DatabaseUnavailable: it may have been published; it still waits.
        """
        await asyncio.sleep(self._next - time.monotonic())
        async with self._manager.transaction("dead_letters.replay"):
            letter = await self._dead_letters.take(identity)
            if letter is None:
                return Outcome.PASSED_OVER
            # The rest of its body is gone; or it goes back as it is stored.
            if not letter.whole or (letter.outgoing and body is not None):
                return Outcome.IMPOSSIBLE
            self._next = time.monotonic() + self._pause
            if letter.outgoing:
                await self._set_aside.take_back(identity)
            else:
                message = letter.message()
                if body is not None:
                    message = replace(message, body=body)
                try:
                    await self._broker.publish(
                        message, exchange=DEFAULT_EXCHANGE, routing_key=self._queue
                    )
                except Unpublishable:
                    return Outcome.IMPOSSIBLE
            await self._dead_letters.decide([identity], State.replayed, note=note)
        return Outcome.REPLAYED
