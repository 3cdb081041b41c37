"""Processes of both releases: started, awaited, ended, killed; and what they say."""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from dev.deploy.releases import Release
from dev.ports import free_ports

SETTINGS = {
    "ENVIRONMENT": "test",
    "OTEL_SDK_DISABLED": "true",  # feature: tracing
    "LISTEN_HOST": "127.0.0.1",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
    "RETRY_LADDER": "200ms,500ms,1s,2s,2s",
    "RELAY_POLL": "100ms",
    "RELAY_LEASE": "2s",
}
_READY_WITHIN = 180.0
_STOP_WITHIN = 30.0
# Data, keys and schema: nothing that trying again would mend.
_BROKEN = ("22", "23", "42", "2D", "0A")


class Broken(NamedTuple):
    """A statement that the schema refuses."""

    release: str
    query: str
    sqlstate: str


@dataclass
class Member:
    """One process of a release.

    Args:
        release: whose code it runs.
        name: what the report calls it.
        log: file of its output.
        process: as the system knows it.
        port: of its operations port.
        http: of its API.  # feature: http_api
    """

    release: Release
    name: str
    log: Path
    process: subprocess.Popen[bytes]
    port: int
    http: int  # feature: http_api
    told: bool = field(default=False)  # that we ended it

    def ready(self) -> bool:
        """Whether it answers so."""
        return _status(self.port, "/ready") == HTTPStatus.OK

    def kill(self) -> None:
        """End it as a power failure would."""
        self.told = True
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as an orchestrator does."""
        self.told = True
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_STOP_WITHIN)

    def lines(self) -> Iterator[Mapping[str, object]]:
        """What it has logged."""
        for line in self.log.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:  # it was killed in the middle of it
                    continue

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-5:])


class Fleet:
    """All processes of a rehearsal.

    Args:
        folder: for their logs.
        settings: that all of them have.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder, self._settings = folder, settings
        self.members: list[Member] = []

    def start(self, release: Release) -> Member:
        """Start a process, and wait until it is ready.

        Raises:
            RuntimeError: it ended, or was not ready in time.
        """
        name = f"process {len(self.members) + 1} of {release.name}"
        ports = free_ports(2)
        settings = {"OPERATIONS_PORT": str(ports[0])}
        settings["HTTP_PORT"] = str(ports[1])  # feature: http_api
        log = self._folder / f"{len(self.members) + 1}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                release.command("run"),
                cwd=release.folder,
                env=release.environment({**self._settings, **settings}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        member = Member(
            release,
            name,
            log,
            process,
            ports[0],
            ports[1],  # feature: http_api
        )
        self.members.append(member)
        deadline = time.monotonic() + _READY_WITHIN
        while not member.ready():
            if process.poll() is not None:
                raise RuntimeError(
                    f"{name} did not start, status {process.returncode}:\n{member.tail()}"
                )
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{name} was not ready in {_READY_WITHIN:.0f} s:\n{member.tail()}"
                )
            time.sleep(0.05)
        return member

    def running(self) -> list[Member]:
        """Those that run."""
        return [each for each in self.members if each.process.poll() is None]

    def ended(self) -> list[Member]:
        """Those that have ended by themselves."""
        return [each for each in self.members if not each.told and each.process.poll() is not None]

    def broken(self) -> Counter[Broken]:
        """Statements that the schema has refused, and how often."""
        return Counter(
            Broken(member.release.name, str(line["query"]), str(line["sqlstate"]))
            for member in self.members
            for line in member.lines()
            if line.get("event") == "database.statement_failed"
            and str(line.get("sqlstate")).startswith(_BROKEN)
        )

    def close(self) -> None:
        """End whatever still runs."""
        for member in self.running():
            member.kill()


def _status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()
