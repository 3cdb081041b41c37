"""A temporary folder whose processes and files never outlive us."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # bytes; a run of tests takes less than a quarter of it
# QUIT comes first: PostgreSQL then takes its sessions with it, and its shared memory out of the
# kernel. The second rm is for a session that was still writing during the first one.
GUARD = """
while read -r line && [ "$line" != done ]; do processes=$line; done
if [ -n "$processes" ]; then
    kill -s QUIT -- $processes
    sleep 1
    for process in $processes; do kill -s KILL -- "-$process"; done
fi
[ -z "$1" ] || rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"""


def memory() -> Path | None:
    """Return a folder in memory that has plenty of room and lets programs run; None without one.

    TMPDIR goes before it.
    """
    if os.environ.get("TMPDIR") or not os.access(MEMORY, os.W_OK | os.X_OK):
        return None
    found = os.statvfs(MEMORY)
    roomy = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available // 2) >= ROOM
    return MEMORY if roomy and not found.f_flag & os.ST_NOEXEC else None


class Scratch:
    """A temporary folder that is removed when the block ends, and also when this process is killed.

    A small shell waits at the other end of a pipe. It hears which processes belong to the folder;
    when the pipe closes, however that came about, it stops those that are left and removes the
    folder. Without it, every killed test run would leave a PostgreSQL and a RabbitMQ behind.

    Args:
        prefix: of its name.
        in_memory: whether it is in memory, where there is `memory` for it.
    """

    path: Path
    stays = False

    def __init__(self, prefix: str, *, in_memory: bool = False) -> None:
        self._prefix, self._in_memory = prefix, in_memory
        self._processes: set[int] = set()

    def __enter__(self) -> Self:
        where = memory() if self._in_memory else None
        self.path = Path(tempfile.mkdtemp(prefix=self._prefix, dir=where))
        self._guarded(remove=str(self.path))
        return self

    @property
    def ports(self) -> list[int]:
        """Those that its server had before."""
        return []

    def remember(self, ports: Sequence[int]) -> None:
        """Nobody comes back to these ports when the folder is gone."""

    def _guarded(self, *, remove: str) -> None:
        # A session of its own: Ctrl-C in a terminal must reach those who use the servers, not the
        # guard.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", remove],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            text=True,
        )

    def adopt(self, process: int) -> None:
        """Have this process group stopped before the folder is removed."""
        self._processes.add(process)
        self._tell(" ".join(map(str, sorted(self._processes))))

    def release(self, process: int) -> None:
        """Forget a process that has ended; its number may soon be somebody else's."""
        self._processes.discard(process)
        self._tell(" ".join(map(str, sorted(self._processes))))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing the pipe wouldn't do: a forked child of ours may still hold it open.
        self._tell("done")
        self._guard.communicate()

    def _tell(self, line: str) -> None:
        pipe = self._guard.stdin
        if pipe is not None and not pipe.closed:
            with suppress(BrokenPipeError):
                pipe.write(f"{line}\n")
                pipe.flush()
