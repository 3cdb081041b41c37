"""Whoever works through `docs/first-hour.md` of a project: types, presses, changes, and compares.

A block of `console` is typed: what follows a line `$ …` has to be what is said, where `…` stands
for anything, alone for any lines. Behind `console` stands `fails` if the command should, and
`make dev` if it is about the terminal in which that runs: its lines come in this order, others
between them, and `⏎` is a key. A block of `diff` changes the file that it names.
"""

import itertools
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.workplace import WHAT, WHO, Workplace

BLOCK = re.compile(r"^```(console|diff) ?([a-z ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = re.compile(r"=== (\d+)\n\Z")
DEV = "make dev"
AUTHOR = {f"GIT_{who}_{what}": "x@localhost" for who in WHO for what in WHAT}
PATIENCE = 120  # seconds for a line


@dataclass(frozen=True)
class Block:
    """One of the page."""

    kind: str
    about: str
    lines: list[str]


def blocks(page: Path) -> list[Block]:
    """All of them, in their order."""
    found = BLOCK.finditer(page.read_text("utf-8"))
    return [Block(each[1], each[2], each[3].splitlines()) for each in found]


def steps(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each command with what it is expected to say."""
    starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        yield lines[start][2:], lines[start + 1 : end]


def pattern(lines: list[str]) -> re.Pattern[str]:
    """What fits them."""
    parts = [
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in lines
    ]
    return re.compile("".join(parts))


def changed(text: str, lines: list[str]) -> str:
    """The text with each change in its one place; `@@` stands between two."""
    for hunk in "\n".join(lines).split("\n@@\n"):
        each = hunk.splitlines(keepends=True)
        each[-1] += "\n"
        old = "".join(line[1:] for line in each if not line.startswith("+"))
        new = "".join(line[1:] for line in each if not line.startswith("-"))
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Reader:
    """Two terminals in the folder of a project; `times` has the seconds of each step."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._service: subprocess.Popen[str] | None = None
        self._keyboard, self._screen = pty.openpty()
        self._said, self._read = list[str](), 0
        self.times = list[tuple[float, str]]()

    def work_through(self, page: Path) -> None:
        """All blocks of it, to the end."""
        with self._open("bash", stdin=subprocess.PIPE) as shell:
            try:
                for block in blocks(page):
                    if block.kind == "diff":
                        self._change(block.lines)
                    elif block.about == DEV:
                        self._watch(block.lines)
                    else:
                        for command, expected in steps(block.lines):
                            self._type(shell, command, expected, fails=block.about == "fails")
            finally:
                shell.kill()
                self._interrupt()
                os.close(self._keyboard)
                os.close(self._screen)

    def _open(self, *command: str, stdin: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._place.command(*command, **AUTHOR),
            env={},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def _type(
        self, shell: subprocess.Popen[str], command: str, expected: list[str], *, fails: bool
    ) -> None:
        assert shell.stdin is not None
        assert shell.stdout is not None
        if command == "make dev-stop":
            self._interrupt()  # as the page says before it
        shell.stdin.write(f'{command} </dev/null\necho "=== $?"\n')
        shell.stdin.flush()
        began, said = time.monotonic(), ""
        while not (end := END.search(said)):
            line = shell.stdout.readline()
            assert line, f"$ {command}\n{said}"
            said += line
        self.times.append((time.monotonic() - began, command))
        said, failed = said[: end.start()], end[1] != "0"
        assert failed == fails, f"$ {command}\n{said}"
        assert pattern(expected).fullmatch(said), f"$ {command}\n{said}"

    def _change(self, lines: list[str]) -> None:
        name = lines[0].removeprefix("--- ")
        file = self._place.machine.path(f"{self._place.folder}/{name}")
        file.write_text(changed(file.read_text("utf-8"), lines[1:]), "utf-8")

    def _watch(self, lines: list[str]) -> None:
        began = time.monotonic()
        for line in lines:
            if line == f"$ {DEV}":
                self._service = self._open(*DEV.split(), stdin=self._screen)
                self._listener = threading.Thread(target=self._listen, args=(self._service,))
                self._listener.start()
            elif line == "⏎":
                os.write(self._keyboard, b"\n")
            else:
                self._wait_for(line)
        self.times.append((time.monotonic() - began, f"{DEV}: {lines[-1]}"))

    def _listen(self, service: subprocess.Popen[str]) -> None:
        assert service.stdout is not None
        with service.stdout as lines:
            for line in lines:
                self._said.append(line)

    def _wait_for(self, line: str) -> None:
        wanted, until = pattern([line]), time.monotonic() + PATIENCE
        while time.monotonic() < until:
            while self._read < len(self._said):
                self._read += 1
                if wanted.fullmatch(self._said[self._read - 1]):
                    return
            time.sleep(0.05)
        raise AssertionError("".join(self._said) + f"\nand never\n{line}")

    def _interrupt(self) -> None:
        """Press Ctrl-C in the terminal of the service."""
        if self._service is None:
            return
        family = psutil.Process(self._service.pid).children(recursive=True)
        for each in family:
            if "dev.start" in each.cmdline()[:3]:
                each.send_signal(signal.SIGINT)
        status, self._service = self._service.wait(PATIENCE), None
        self._listener.join(PATIENCE)
        assert status == 0, "".join(self._said)
