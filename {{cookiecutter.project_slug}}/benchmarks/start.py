"""How long it takes to begin, and what that needs."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import psutil

from benchmarks.servers import Servers

_SERVICE = [sys.executable, "-m", "tests.chassis", "run"]
_IMPORT = "import acme_orders.chassis.cli.run"
_ROUNDS = 5


@dataclass(frozen=True)
class Start:
    """Medians of several starts.

    Args:
        imported: seconds to import what `run` needs, without those of Python itself.
        ready: seconds from the start of `run` until it says that it is ready.
        memory: bytes at rest.
    """

    imported: float
    ready: float
    memory: float


def start(servers: Servers) -> Start:
    """Start the service several times, one after the other."""
    imports = [_python(_IMPORT) - _python("pass") for _ in range(_ROUNDS)]
    with servers.site() as environment:
        runs = [_run({**os.environ, **environment, "LOG_LEVEL": "INFO"}) for _ in range(_ROUNDS)]
    return Start(
        median(imports), median(seconds for seconds, _ in runs), median(rss for _, rss in runs)
    )


def _python(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def _run(environment: Mapping[str, str]) -> tuple[float, int]:
    began = time.perf_counter()
    with subprocess.Popen(
        _SERVICE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"service.ready" in line:
                break
        seconds = time.perf_counter() - began
        time.sleep(1)  # what the first round of each part takes
        memory = psutil.Process(process.pid).memory_info().rss
        process.terminate()
        process.stdout.read()
    return seconds, memory
