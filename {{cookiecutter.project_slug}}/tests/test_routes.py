# feature: http_api
"""Your routes, asked what nobody thought of: no error of the service, no undocumented answer."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from dev.ports import free_ports
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.conftest import PROJECT
from tests.made_up import ALL, wrong

HEADERS: dict[str, str] = {}
HEADERS |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema


@pytest.mark.parametrize(
    ("phases", "examples"),
    [("examples,coverage", 1), pytest.param(ALL, 100, marks=pytest.mark.long)],
    ids=["short", "long"],
)
def test_every_answer_is_one_that_is_documented(
    database_url: str, tmp_path: Path, phases: str, examples: int
) -> None:
    """Of the process itself, on PostgreSQL, which processes what it takes."""
    with process(database_url, tmp_path / "log") as port:
        with urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=30) as answer:
            if not json.load(answer)["paths"]:
                return  # Schemathesis refuses a document without routes
        found = wrong(port, HEADERS, tmp_path, phases=phases, examples=examples)
        assert not found, found


@contextmanager
def process(database_url: str, log: Path) -> Iterator[int]:
    """The service with a broker in memory; killed at the end."""
    port, operations = free_ports(2)
    settings = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": "memory://",
        "LISTEN_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "OPERATIONS_PORT": str(operations),
    }
    command = [sys.executable, "-m", "acme_orders", "run"]
    with log.open("wb") as output:
        running = subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, **settings}, stderr=output
        )
    try:
        until = time.monotonic() + 60
        while not is_ready(operations):
            assert running.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < until, log.read_text("utf-8")
            time.sleep(0.1)
        yield port
    finally:
        running.kill()
        running.wait()
        sys.stderr.write(log.read_text("utf-8")[-20_000:])


def is_ready(port: int) -> bool:
    """Whether it says so."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
