"""A folder of a server that stays, and a lock that says who runs what is in it."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from dev.child import end, family_of
from dev.postgres_binaries import closed_to_others
from dev.scratch import Scratch

RUNNING = "processes.json"
PORTS = "ports.json"
SPECIAL = set("*?[]{}\\")


class Kept(Scratch):
    """A folder that stays, with the data of one server and the ports where it is found.

    Its processes end with us like those of any other. What a killed machine has left is cleared
    away: processes of that server, logs, and data of a server that was never ready.
    """

    stays = True

    def __init__(self, place: Path) -> None:
        super().__init__(place.name)
        self._place = place

    def __enter__(self) -> Self:
        self.path = self._place.resolve()
        for process in _written(self.path / RUNNING):
            _end_if_ours(process, self.path)
        if not (self.path / PORTS).exists():
            throw_away(self._place)
            self.path = _within_reach(self._place)
        for log in self.path.glob("*.log"):
            log.unlink()
        self._guarded(remove="")
        return self

    @property
    def ports(self) -> list[int]:
        """Those that its server had before; none if it was never ready."""
        return _written(self.path / PORTS)

    def remember(self, ports: Sequence[int]) -> None:
        """From now on the server is looked for there."""
        _write(self.path / PORTS, ports)

    def adopt(self, process: int) -> None:
        """Have it stopped when we end, however that is."""
        super().adopt(process)
        _write(self.path / RUNNING, self._processes)

    def release(self, process: int) -> None:
        """Forget a process that has ended."""
        super().release(process)
        _write(self.path / RUNNING, self._processes)


class Lock:
    """Held by one process, whose number is in the file, until it ends, however that is."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def take(self) -> bool:
        """Whether it is ours now, until this process ends; another may hold it."""
        self._file.parent.mkdir(exist_ok=True)
        self._held = self._file.open("a")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            return False
        self._file.write_text(str(os.getpid()))
        return True

    def give_back(self) -> None:
        """Let another one take it."""
        self._held.close()

    @property
    def holder(self) -> int | None:
        """Who holds it."""
        if self.take():
            self.give_back()
            return None
        return int(self._file.read_text() or 0) or None


def throw_away(place: Path) -> None:
    """Remove a file, a folder, or a link with the folder that it leads to."""
    if place.is_symlink():
        shutil.rmtree(place.resolve(), ignore_errors=True)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _within_reach(place: Path) -> Path:
    """Make the folder, or one elsewhere with a link to it.

    As root we run PostgreSQL as somebody who may not enter every place where a project can be, and
    RabbitMQ takes what is special in a path for a pattern.
    """
    whole = place.absolute()
    if SPECIAL & set(str(whole)) or (os.geteuid() == 0 and closed_to_others(whole)):
        place.symlink_to(tempfile.mkdtemp(prefix="dev-kept-", dir="/var/tmp"))
    place.resolve().mkdir(mode=0o755, exist_ok=True)
    return place.resolve()


def _end_if_ours(process: int, folder: Path) -> None:
    """End a server of this folder; by now its number may be somebody else's."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        found = psutil.Process(process)
        if any(str(folder) in each for each in (*found.cmdline(), *found.environ().values())):
            end([found, *family_of(process)], patience=0)


def _written(file: Path) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(each) for each in json.loads(file.read_text())]
    return []


def _write(file: Path, numbers: Sequence[int] | set[int]) -> None:
    new = file.with_suffix(".new")
    with new.open("w") as whole:  # or not at all, also when the machine dies
        json.dump(list(numbers), whole)
        whole.flush()
        os.fsync(whole.fileno())
    new.replace(file)
