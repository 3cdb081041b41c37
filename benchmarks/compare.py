"""The generated service against what a team would write instead: `make bench`.

Everybody drains the same queue of the same messages into the same tables, in turns. It runs in the
bake with aiopg, whose benchmarks it uses, and writes what it found as JSON for `report.py`.
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from benchmarks.drain import BULK, SINGLE, drain
from benchmarks.process import Contender
from benchmarks.servers import servers
from benchmarks.suite import arguments, suite

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
LIBRARIES = {
    "service": (
        "peewee",
        "peewee-async",
        "aiopg",
        "psycopg2-binary",
        "psycopg",
        "aio-pika",
        "aiormq",
    ),
    "peers": ("faststream", "sqlalchemy", "asyncpg", "aiormq", "aio-pika"),
}


def contenders(bakes: Path, python: str) -> Iterator[Contender]:
    """Each has the name under which the report knows it."""
    for driver in ("aiopg", "psycopg"):
        folder = bakes / driver / "acme-orders"
        paths = {"PYTHONPATH": f"{folder / 'src'}:{folder}"}
        for contender in (SINGLE, BULK):
            yield replace(
                contender, name=f"{contender.name}, {driver}", folder=folder, environment=paths
            )
    for style, peer in (("Core", "faststream_sqlalchemy.py"), ("ORM", "faststream_orm.py")):
        for prefetch in ("10", "50"):
            yield Contender(
                f"FastStream + SQLAlchemy {style}, prefetch {prefetch}",
                [python, str(PEERS / peer)],
                environment={"PREFETCH": prefetch},
            )
    yield Contender("hand-written", [python, str(PEERS / "handwritten.py")])


def generation() -> float:
    """Seconds to generate a project with the default answers."""
    with TemporaryDirectory() as folder:
        command = ["cookiecutter", str(ROOT), "--no-input", "--default-config"]
        began = time.monotonic()
        subprocess.run([*command, "--output-dir", folder], check=True, capture_output=True)
        return time.monotonic() - began


def machine() -> str:
    """What it runs on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = psutil.virtual_memory().total / 2**30
    return f"{cpu}, {psutil.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"


def versions(python: str, names: tuple[str, ...]) -> dict[str, str]:
    """The versions of libraries in an environment."""
    code = (
        "import importlib.metadata as m, json, sys; "
        "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    )
    found = subprocess.run([python, "-c", code, *names], check=True, capture_output=True)
    answer: dict[str, str] = json.loads(found.stdout)
    return answer


async def main() -> None:
    """Measure everybody in turns, then what only the service has."""
    parser = argparse.ArgumentParser(description=__doc__)
    arguments(parser)
    parser.add_argument("--seconds", type=float, default=8.0, help="for one drain")
    parser.add_argument("--bakes", type=Path, required=True)
    parser.add_argument("--peers-python", required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    drains: dict[str, list[dict[str, float]]] = {}
    with servers() as running:
        for number in range(1, options.rounds + 1):
            for contender in contenders(options.bakes, options.peers_python):
                work = await drain(
                    contender,
                    running,
                    messages=options.messages,
                    seconds=options.seconds,
                    seed=options.seed + number,
                )
                drains.setdefault(contender.name, []).append(asdict(work))
                print(
                    f"round {number}: {contender.name}: {work.rate:,.0f} messages/s, "
                    f"{work.cpu_per_message:.0f} µs, {work.memory / 2**20:.0f} MiB",
                    flush=True,
                )
        measured = [("generate a project with the default answers", f"{generation():.1f} s")]
        async for what, line in suite(running, options):
            print(f"{what}: {line}", flush=True)
            measured.append((what, line))
        found = {
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
            "machine": machine(),
            "servers": {
                "PostgreSQL": running.postgres.version,
                "RabbitMQ": running.rabbitmq.version,
                "Python": platform.python_version(),
            },
            "versions": {
                "service": versions(sys.executable, LIBRARIES["service"]),
                "peers": versions(options.peers_python, LIBRARIES["peers"]),
            },
            "options": {name: str(value) for name, value in vars(options).items()},
            "drains": drains,
            "suite": measured,
        }
    options.output.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    asyncio.run(main())
