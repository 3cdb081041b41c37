"""The messaging of a generated project on the RabbitMQ of a newer Debian than this one."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.answers import ROOT
from tests.debian import rabbitmq, works_here
from tests.test_service import python

Bake = Callable[..., Path]

# The port, what RabbitMQ counts and refuses, and a process that dies at every step.
MESSAGING = [
    "tests/chassis/contracts/test_broker.py",
    "tests/chassis/integration/test_rabbitmq.py",
    "tests/chassis/integration/test_dead_letters.py",
    "tests/chassis/faults/test_crash_points.py",
]


@pytest.mark.timeout(600)
def test_messaging_on_rabbitmq_4(bake_fresh: Bake) -> None:
    """One declaration and one meaning from 3.10 on; `make versions` does all faults."""
    if not works_here():
        pytest.skip("needs apt-get, and the right to mount in a namespace of its own")
    server = rabbitmq("trixie", ROOT / "build" / "rabbitmq")
    ended = python(
        bake_fresh(chassis_tests=True),
        *["-m", "dev.servers", "--broker", "rabbitmq", "--"],
        *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *MESSAGING],
        TEST_RABBITMQ_SERVER=str(server),
        TEST_DATABASE_URL=os.environ["DATABASE_URL"],
    )
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    assert "RabbitMQ 4." in ended.stderr
