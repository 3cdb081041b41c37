"""Processes of the service: started, watched, killed, and started again as an orchestrator does."""

import asyncio
import base64
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.chassis.conftest import PROJECT, eventually
from tests.chassis.faults.marks import MARKS, Marks
from tests.chassis.faults.site import Site

_NAMED = base64.b64encode(f"ada:{MARKS['OPERATIONS_TOKEN']}".encode()).decode()


class Member:
    """One process, and those that take its place.

    Args:
        command: of the first life, and of all others.
        environment: of both.
        log: file of its output, of all its lives.
        supervised: whether another one is started when it dies.
        apart: whether it has a session of its own, and with it its own share of the processors, as
            in a container.
        marks: that nothing which it shows may have.
    """

    def __init__(
        self,
        command: tuple[list[str], list[str]],
        *,
        marks: Marks | None,
        environment: Mapping[str, str],
        log: Path,
        supervised: bool,
        apart: bool,
    ) -> None:
        self._first, self._later = command
        self._apart, self._marks = apart, marks
        self._looks = list[asyncio.Task[None]]()
        self._environment, self.log, self.supervised = environment, log, supervised
        self._process: asyncio.subprocess.Process | None = None
        self._began = 0  # where the log of this life begins
        self.statuses: list[int] = []  # of the lives that have ended

    @property
    def pid(self) -> int:
        """The process id of this life."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def lives(self) -> int:
        """How often it was started."""
        return len(self.statuses) + self.running

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.returncode is None

    async def live(self) -> None:
        """Run it, again and again if it is supervised; return when it has ended for good."""
        command = self._first
        while not self.statuses or self.supervised:
            self._began = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=PROJECT,
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=self._apart,
                )
            self.statuses.append(await self._process.wait())
            command = self._later
            await asyncio.sleep(0.1)  # an orchestrator is not quicker, and a typo no busy loop

    def records(self, event: str, *, lives: str = "all") -> list[dict[str, Any]]:
        """The log records of this event: of all its lives, or of the present one (`this`)."""
        with self.log.open("rb") as log:
            log.seek(self._began if lives == "this" else 0)
            written = log.read().split(b"\n")[:-1]  # the last line may be half of one
        lines = [line for line in written if line.startswith(b"{") and event.encode() in line]
        return [found for line in lines if (found := json.loads(line)).get("event") == event]

    async def ready(self, *, within: float = 90) -> None:
        """Wait until it says that it is; RuntimeError if it ends instead."""
        await eventually(self._ready, within=within)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name with these labels; 0 without any."""
        _, text = await asyncio.to_thread(self._get, "/metrics")
        families = text_string_to_metric_families(text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def status(self, path: str) -> int:
        """What its operations port answers: 200 of `/ready` if it is, 503 if not."""
        found, _ = await asyncio.to_thread(self._get, path)
        if found != HTTPStatus.OK and not self._looks:  # nobody waits for it meanwhile
            self._looks.append(asyncio.create_task(self.look()))
        return found

    async def answer(self, path: str) -> tuple[int, str]:
        """What its operations port answers: a status and a text."""
        return await asyncio.to_thread(self._get, path)

    async def look(self) -> None:
        """Fetch all pages that it has for whoever operates it, as far as it answers."""
        with suppress(OSError, HTTPException):
            for path in ("/", "/dead-letters", "/metrics", "/ready"):
                await self.answer(path)

    async def looked(self) -> None:
        """All that it has shown is known."""
        await asyncio.gather(*self._looks)
        if self._marks and self.log.exists():
            self._marks.look(self.log.name, self.log.read_text("utf-8", errors="replace"))

    def send_signal(self, number: signal.Signals) -> None:
        """SIGKILL, SIGSTOP, SIGCONT, SIGTERM, … to the process that is there."""
        os.kill(self.pid, number)

    async def ended(self, *, within: float = 120) -> int:
        """Wait until a life has ended; its exit status, negative for a signal."""
        before = len(self.statuses) if self.running else len(self.statuses) - 1
        await eventually(lambda: len(self.statuses) > before, within=within)
        return self.statuses[before]

    async def terminate(self, *, within: float = 80) -> tuple[int, float]:
        """Stop it for good as an orchestrator does; its exit status, and the seconds it took."""
        self.supervised, began = False, time.monotonic()
        if self.running:
            self.send_signal(signal.SIGTERM)
            await self.ended(within=within)
        return self.statuses[-1], time.monotonic() - began

    def _ready(self) -> bool:
        if self.statuses and not self.supervised:
            raise RuntimeError(f"ended with {self.statuses}:\n{self.log.read_text('utf-8')}")
        return self._port() is not None

    def _port(self) -> int | None:
        found = self.records("service.ready", lives="this") if self.running else []
        return int(found[-1]["port"]) if found else None

    def _get(self, path: str) -> tuple[int, str]:
        port = self._port()
        if port is None:
            raise ConnectionError(f"process {self.pid} is not ready")
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {_NAMED}"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if self._marks:
            self._marks.look(f"{path} of {self.log.name}", text)
            with suppress(psutil.NoSuchProcess):
                self._marks.look("its arguments", " ".join(psutil.Process(self.pid).cmdline()))
        return answer.status, text


class Fleet:
    """All processes of one site; what still runs at the end of its block is killed.

    Args:
        site: whose environment they have.
        folder: of their logs.
        printed: whether their logs are printed at the end; pytest shows them if a test fails.
        apart: whether each has a session of its own.
        marks: in the place of their secrets; None: they have those of the site.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        *,
        printed: bool = True,
        apart: bool = False,
        marks: Marks | None = None,
    ) -> None:
        self._marks = marks
        self.site, self._folder, self._printed, self._apart = site, folder, printed, apart
        self.members: list[Member] = []
        self._lives: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self.members:
            member.supervised = False
            with suppress(ProcessLookupError):  # it ended in this moment
                if member.running:
                    member.send_signal(signal.SIGKILL)
        await asyncio.gather(*self._lives, *(member.looked() for member in self.members))
        for member in self.members if self._printed else ():
            sys.stderr.write(f"--- {member.log.name}: {member.statuses}\n")
            sys.stderr.write(member.log.read_text("utf-8", errors="replace"))

    async def start(
        self,
        *failpoints: str,
        only: str | None = None,
        supervised: bool = False,
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Member:
        """Start a process.

        Args:
            failpoints: of its first life only, or it would die at the same point for ever.
            only: the part that it runs: consumer, relay, …
            supervised: start another one when it dies.
            ready: wait until it is.
            environment: settings that differ from those of the site.
        """
        run = ["run", *(("--only", only) if only else ())]
        settings = {**os.environ, **self.site.environment, **(environment or {})}
        python = [sys.executable, "-m", "tests.chassis.faults.child"]
        member = Member(
            ([*python, *failpoints, "--", *run], [*python, "--", *run]),
            marks=self._marks,
            environment=self._marks.planted(settings) if self._marks else settings,
            log=self._folder / f"process-{len(self.members) + 1}.log",
            supervised=supervised,
            apart=self._apart,
        )
        self.members.append(member)
        self._lives.append(asyncio.create_task(member.live()))
        await eventually(lambda: member.lives)
        if ready:
            await member.ready()
        return member

    async def metric(self, name: str, **labels: str) -> float:
        """The sum over all processes that can be asked."""
        total = 0.0
        for member in self.members:
            try:
                total += await member.metric(name, **labels)
            except (OSError, HTTPException):
                continue
        return total

    async def terminate(self, *, within: float = 80) -> list[tuple[int, float]]:
        """Stop all that run at once; exit status and seconds of each."""
        ending = [
            member.terminate(within=within)
            for member in self.members
            if member.running or member.supervised
        ]
        return list(await asyncio.gather(*ending))
