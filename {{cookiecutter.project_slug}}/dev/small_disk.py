# feature: chassis_tests
"""A disk of a few megabytes, so that it can be full, and servers on it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from pwd import struct_passwd
from types import TracebackType
from typing import Self

from dev.child import Child, ServerFailed
from dev.postgres import Postgres
from dev.rabbitmq import RabbitMQ
from dev.scratch import Scratch

# Namespaces of its own: nobody needs to be root for it, and it is unmounted when nobody is left in
# them, however that came about.
APART = ("--user", "--map-current-user", "--mount", "--keep-caps")
MOUNT = 'mount -t tmpfs -o "size=$1m,mode=0700" small "$2" && echo mounted && exec sleep infinity'
BLOCK = 4096  # bytes, in which such a disk is given away
READY_WITHIN = 10.0


class NoSmallDisk(RuntimeError):
    """A disk can't be mounted here; the text says why."""


class SmallDisk:
    """A file system in memory that only programs see that `inside` starts; gone with its block.

    `with SmallDisk(256) as disk:` and run `disk.inside(["program", …])` as the same user, with data
    in `disk.path`. `fill` leaves no room on it, and `free` gives all of it back.

    Args:
        megabytes: its size.
        user: to whom it belongs, who also has to run the programs; None: to us.
    """

    path: Path

    def __init__(self, megabytes: int, *, user: struct_passwd | None = None) -> None:
        self._megabytes, self._user = megabytes, user

    def __enter__(self) -> Self:
        if missing := [each for each in ("unshare", "nsenter") if shutil.which(each) is None]:
            raise NoSmallDisk(f"no {' and no '.join(missing)} here, which Linux has in util-linux")
        with ExitStack() as stack:
            scratch = stack.enter_context(Scratch("dev-disk-"))
            self.path = scratch.path / "disk"
            self.path.mkdir()
            for folder in (scratch.path, self.path):
                os.chown(folder, *self._owner())
            mount = ["/bin/sh", "-c", MOUNT, "mount", str(self._megabytes), str(self.path)]
            self._holder = Child(
                "mount",
                ["unshare", *APART, *mount],
                scratch=scratch,
                environment=dict(os.environ),
                user=self._user,
            )
            try:
                self._holder.start(self._mounted, within=READY_WITHIN)
            except ServerFailed as failure:
                raise NoSmallDisk(f"namespaces are not allowed here: {failure}") from failure
            stack.callback(self._holder.kill)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    @property
    def left(self) -> int:
        """Bytes that are free."""
        found = os.statvfs(self.seen(self.path))
        return found.f_bavail * found.f_frsize

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs this one where the disk is seen, as the same process."""
        enter = ("--user", "--mount", "--preserve-credentials", f"--target={self._holder.pid}")
        return ["nsenter", *enter, "--", *command]

    def seen(self, path: Path) -> Path:
        """Where we, outside, can read what has this path inside."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def fill(self, *, leave: int = 0) -> None:
        """Take all room but so many bytes; those who use it meanwhile find none, either."""
        while (blocks := (self.left - leave) // BLOCK) > 0:
            into = (f"of={self.path / 'ballast'}", f"bs={BLOCK}", "oflag=append", "conv=notrunc")
            # It fails if somebody else was quicker: then there is no room, as there should not be.
            self._run("dd", "if=/dev/zero", *into, f"count={blocks}", check=False)

    def free(self) -> None:
        """Give the room back."""
        self._run("rm", "-f", str(self.path / "ballast"))

    def _owner(self) -> tuple[int, int]:
        return (self._user.pw_uid, self._user.pw_gid) if self._user else (os.getuid(), os.getgid())

    def _mounted(self) -> bool:
        return self._holder.log.read_text().endswith("mounted\n")

    def _run(self, *command: str, check: bool = True) -> None:
        subprocess.run(
            self.inside(command),
            check=check,
            capture_output=True,
            user=self._user and self._user.pw_uid,
            group=self._user and self._user.pw_gid,
            extra_groups=None if self._user is None else [],
        )


class _OnDisk:
    def __init__(self, disk: SmallDisk) -> None:
        super().__init__()
        self._disk = disk

    def _home(self) -> Path:
        return self._disk.path

    def _seen(self, path: Path) -> Path:
        return self._disk.seen(path)

    def _where(self, command: list[str]) -> list[str]:
        return self._disk.inside(command)


class PostgresOnDisk(_OnDisk, Postgres):
    """A server with its data and its WAL on a disk, which has to belong to `server_user()`."""


class RabbitMQOnDisk(_OnDisk, RabbitMQ):
    """A node with its data on a disk."""
