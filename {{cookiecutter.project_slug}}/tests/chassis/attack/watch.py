"""What processes need and show while they are attacked: memory, logs, metrics, and what we see."""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.chassis.attack.login import SECRETS
from tests.chassis.attack.sales import PERSON
from tests.chassis.conftest import PROJECT
from tests.chassis.faults.fleet import Member

_LOOK = 0.5  # seconds
_SPIN = 0.2  # seconds on a processor
_SHOWN = 200  # characters around a secret that was shown
COMMANDS = (("doctor",), ("dead-letters", "list"), ("topology",))


@dataclass
class Watch:
    """Looks at processes now and then.

    Args:
        members: whatever life they are in.
        largest: the most memory that a life of each had, in MB.
        lag: the longest pause of our own event loop, in seconds; a busy machine has long ones.
        slowdowns: of all programs, the attack included, every ten seconds.
        shown: secrets, and where.
    """

    members: Sequence[Member]
    largest: dict[str, float] = field(default_factory=dict)
    lag: float = 0
    slowdowns: list[float] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    async def go_on(self, until: float) -> None:
        """Look until the time has come."""
        looks = 0
        while (began := time.monotonic()) < until:
            await asyncio.sleep(_LOOK)
            self.lag = max(self.lag, time.monotonic() - began - _LOOK)
            self.look_at_memory()
            if looks % 20 == 0:
                await self.look_at_answers()
                self.slowdowns.append(await asyncio.to_thread(slowdown))
            looks += 1

    def look_at_memory(self) -> None:
        """Note the most that each process ever had."""
        for member in self.members:
            with suppress(OSError, StopIteration):  # it has just ended
                process = Path(f"/proc/{member.pid}")
                if b"tests.chassis.faults.child" not in (process / "cmdline").read_bytes():
                    continue  # not yet itself: it still has our memory
                lines = (process / "status").read_text(encoding="ascii").splitlines()
                line = next(line for line in lines if line.startswith("VmHWM"))
                megabytes = int(line.split()[1]) / 1024
                self.largest[member.log.stem] = max(self.largest.get(member.log.stem, 0), megabytes)

    async def look_at_answers(self) -> None:
        """See whether the operations port tells a secret."""
        for member in self.members:
            for path in ("/metrics", "/ready"):
                with suppress(OSError, HTTPException):
                    _, text = await member.answer(path)
                    self.shown += secrets_in(f"{path} of {member.log.stem}", text.encode())

    async def look_at_the_rest(self, environment: dict[str, str], texts: Iterable[bytes]) -> None:
        """See whether a log, a command or an answer to a client does."""
        for member in self.members:
            self.shown += secrets_in(member.log.name, member.log.read_bytes())
        for text in texts:
            self.shown += secrets_in("an answer", text)
        for command in COMMANDS:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chassis", *command),
                cwd=PROJECT,
                env={**os.environ, **environment},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await process.communicate()
            self.shown += secrets_in(" ".join(command), output)


def slowdown() -> float:
    """How many times longer than alone a program takes now, because others use the processors."""
    began, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < _SPIN:
        pass
    return max(1.0, (time.monotonic() - began) / _SPIN)


def secrets_in(where: str, text: bytes) -> list[str]:
    """A line for each password or person that a text shows."""
    found = []
    for secret in (*SECRETS, PERSON):
        if (at := text.find(secret.encode())) >= 0:
            around = text[max(0, at - _SHOWN) : at + _SHOWN].decode(errors="replace")
            found.append(f"{where} shows {secret!r}: …{around}…")
    return found
