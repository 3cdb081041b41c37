# feature: http_api
"""A real process of the service, and clients that behave as nobody should."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from dev.ports import free_ports
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import PROJECT

HEADERS = {
    "Content-Type": "application/json",
    "X-Tenant-ID": str(TENANT),  # feature: row, rls, schema
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how many seconds."""

    status: int
    text: str
    headers: Mapping[str, str]
    seconds: float

    @property
    def content(self) -> Any:
        """What it says."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Running:
    """A process, its ports and its log."""

    process: subprocess.Popen[bytes]
    port: int
    operations: int
    log: Path

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        return ask(self.port, method, path, body, HEADERS | headers)

    def operation(self, path: str) -> Answer:
        """What the operations port says."""
        return ask(self.operations, "GET", path)

    def metric(self, line: str) -> float:
        """The value of the metric whose line begins like this; 0 if there is none."""
        lines = self.operation("/metrics").text.splitlines()
        return sum(float(each.rpartition(" ")[2]) for each in lines if each.startswith(line))

    @property
    def files(self) -> int:
        """How many are open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def memory(self) -> float:
        """The most that it ever had, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = HEADERS,
) -> Answer:
    """One request, as a client on the network makes it."""
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # it was answered before its end
            connection.request(method, path, body, {"Connection": "close", **headers})
        found = connection.getresponse()
        text = found.read().decode()
    finally:
        connection.close()
    return Answer(found.status, text, dict(found.getheaders()), time.monotonic() - began)


@contextmanager
def running(environment: Mapping[str, str], log: Path, *, files: int = 4096) -> Iterator[Running]:
    """The service of `service.py`, with so many open files at most; killed at the end."""
    port, operations = free_ports(2)
    ports = {"HTTP_PORT": str(port), "OPERATIONS_PORT": str(operations)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chassis.edge.service", str(files), "run"],
            cwd=PROJECT,
            env={**os.environ, "LISTEN_HOST": "127.0.0.1", **ports, **environment},
            stderr=output,
        )
    service = Running(process, port, operations, log)

    def ready() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            return service.operation("/ready").status == 200
        except (OSError, HTTPException):
            return False

    try:
        soon(ready)
        yield service
    finally:
        process.kill()
        process.wait()
        sys.stderr.write(log.read_text(encoding="utf-8")[-20_000:])


def soon(condition: Callable[[], object], *, within: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.05)


@contextmanager
def held(port: int, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many clients that send this and then nothing; they read nothing either."""
    with ExitStack() as stack:
        clients = []
        for _ in range(number):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(10)
            client.connect(("127.0.0.1", port))
            client.sendall(sent)
            clients.append(client)
        yield clients


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = (f"{name}: {value}" for name, value in {"Host": "x", **HEADERS, **named}.items())
    return "\r\n".join((f"{method} {path} HTTP/1.1", *lines, "", "")).encode()
