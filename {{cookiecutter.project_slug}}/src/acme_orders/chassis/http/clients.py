"""The clients of a port: only so many, and each within its time; nobody holds what others need."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Waiting = Literal["request", "head", "body", "answer"]  # that has to come, or to be taken

_LOOK = 0.25  # seconds between two looks at the time
_AT_THE_END = 1.5  # seconds for each wait when the process stops; it has four for everything


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What the clients of a port may hold.

    Args:
        clients: at once; beyond it whoever has kept us waiting longest is cut off.
        patience: seconds for the head of a request, for its body, and for what was written.
        idle: seconds without a request.
        accepted: connections that the event loop accepts at once.
        unread: bytes of answers that wait here to be read, of all clients together.
    """

    clients: int = 32
    patience: float = 5
    idle: float = 75
    accepted: int = 32
    unread: int = 64 * 1024 * 1024

    @property
    def descriptors(self) -> int:
        """Most open files; those of clients that were cut off are closed a little later."""
        return self.clients + 3 * self.accepted


class Slow(Protocol):
    """A connection, as far as its time is concerned."""

    @property
    def waits_for(self) -> Waiting | None:
        """What the client has to do next; None while we are at work."""

    @property
    def unread(self) -> int:
        """Bytes that wait for it."""

    def time_out(self) -> None:
        """End it, because its time is over."""

    def cut_off(self) -> None:
        """End it at once."""


class Clients:
    """Everybody who is connected to a port, whoever has done nothing for longest first.

    Args:
        limits: for all of them.
        refused: called with the reason whenever one is refused or cut off.
    """

    def __init__(
        self, limits: ClientLimits, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self.limits, self.refused = limits, refused
        self._since: OrderedDict[Slow, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    @property
    def unread(self) -> int:
        """Bytes of answers that wait to be read."""
        return sum(each.unread for each in self._since)

    def add(self, client: Slow) -> bool:
        """Let a client in, if need be in the place of the slowest; False: all are being served."""
        if len(self._since) >= self.limits.clients:
            slowest = next((each for each in self._since if each.waits_for), None)
            if slowest is None:
                return False
            self.refused("clients")
            self.discard(slowest)
            slowest.cut_off()
        self._since[client] = time.monotonic()
        return True

    def touch(self, client: Slow) -> None:
        """Count the time of a client anew."""
        if client in self._since:
            self._since[client] = time.monotonic()
            self._since.move_to_end(client)

    def keep_room(self, reader: Slow) -> None:
        """Cut off those who read slowest while all that was written takes too much memory.

        Not `reader`, to whom something was just written: one answer may be as large as it likes.
        """
        too_much = self.unread - self.limits.unread
        for client in list(self._since):
            if too_much <= 0:
                return
            if client is not reader and (size := client.unread):
                self.refused("answer")
                self.discard(client)
                client.cut_off()
                too_much -= size

    def discard(self, client: Slow) -> None:
        """Forget a client that is gone."""
        self._since.pop(client, None)

    async def watch(self, stop: asyncio.Event) -> None:
        """End those whose time is over, for ever; after `stop` they have little."""
        while True:
            now, patience = time.monotonic(), self.limits.patience
            if stop.is_set():
                patience = min(patience, _AT_THE_END)
            for client, since in list(self._since.items()):
                limit = self.limits.idle if client.waits_for == "request" else patience
                if now - since > limit:
                    client.time_out()
            await asyncio.sleep(_LOOK)
