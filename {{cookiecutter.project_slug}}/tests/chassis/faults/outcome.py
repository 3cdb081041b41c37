"""What a soak came to, and what a process holds after it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import psutil

from tests.chassis.faults.account import Account
from tests.chassis.faults.fleet import Member

_MORE_MEMORY = 64 << 20  # bytes; it grows with what is in hand, but not for ever
_MORE_FILES = 12  # connections of the pool come and go


@dataclass(frozen=True)
class Held:
    """What a process holds.

    Args:
        memory: resident, in bytes.
        files: open ones, sockets included.
        connections: TCP, those of whoever asks for metrics included.
    """

    memory: int
    files: int
    connections: int

    @classmethod
    def by(cls, member: Member) -> Self:
        """Look at a process."""
        process = psutil.Process(member.pid)
        with process.oneshot():
            connections = len(process.net_connections("tcp"))
            return cls(process.memory_info().rss, process.num_fds(), connections)

    def __str__(self) -> str:
        return f"{self.memory >> 20} MiB, {self.files} files, {self.connections} connections"


@dataclass
class Outcome:
    """What a run came to; `account` is empty until its end."""

    account: Account = field(default_factory=Account)
    faults: Counter[str] = field(default_factory=Counter)
    held: list[Held] = field(default_factory=list)  # by the first process: early, and at the end
    reconnects: float = 0

    def problems(self, first: Member) -> list[str]:
        """Whatever is not as it should be, in words."""
        account, (early, late) = self.account, self.held
        found = account.notes[:20]
        if account.ok != account.acknowledged or not account.acknowledged:
            found.append(f"{account.acknowledged - account.ok} acknowledged messages are not ok")
        if account.acknowledged < account.attempted:
            found.append(f"{account.attempted - account.acknowledged} could not be published")
        if first.lives != 1:
            found.append(f"the first process was not killed, and ended with {first.statuses}")
        if late.memory > early.memory + _MORE_MEMORY:
            found.append(f"the first process holds {late} now, and {early} early on")
        if late.files > early.files + _MORE_FILES:
            found.append(f"the first process has {late.files} open files, {early.files} early on")
        if not self.reconnects:
            found.append("the first process never lost its connection, so nothing is proved")
        return found
