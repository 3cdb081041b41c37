"""The folder of a project in which `make dev` runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from dev.kept import Lock

PROJECT = Path(__file__).resolve().parents[2]
NO_RABBITMQ = {"PATH": "/nonexistent", "TEST_RABBITMQ_SERVER": ""}
START = "import json, dev.stay; print(json.dumps(dev.stay.standing()))"
SERVICE: dict[str, str] = {"OPERATIONS_PORT": "0", "HTTP_PORT": "0", "LISTEN_HOST": "127.0.0.1"}


class Place:
    """The folder of a project, with the service of these tests, and terminals in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for each in (PROJECT, PROJECT / "tests/chassis"):
            shutil.copytree(each / "migrations", folder / "migrations", dirs_exist_ok=True)
        shutil.copytree(PROJECT / "src", folder / "src")
        self.service = next(folder.glob("src/*/service.py"))
        self.service.write_text("from tests.chassis.service import SERVICE as SERVICE\n")

    def terminal(
        self, *arguments: str, screen: int | None = None, variables: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """Run Python there, as make does."""
        paths = {"PYTHONPATH": os.pathsep.join([str(self.folder / "src"), str(PROJECT)])}
        ours = ("DATABASE_URL", "BROKER_URL", "RABBITMQ_MANAGEMENT_URL")
        others = {
            name: value
            for name, value in os.environ.items()
            if name.removeprefix("TEST_") not in ours
        }
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**others, **paths, **variables},
            stdin=subprocess.DEVNULL if screen is None else screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, **variables: str) -> dict[str, str]:
        """Where the servers are that stay, without RabbitMQ unless `variables` say more."""
        terminal = self.terminal("-c", START, variables=variables or NO_RABBITMQ)
        printed, progress = terminal.communicate(timeout=120)
        assert terminal.returncode == 0, progress
        found: dict[str, str] = json.loads(printed)
        return found

    def stop(self, how: str = "stop") -> None:
        """Stop them, or throw their data away as well."""
        terminal = self.terminal("-m", "dev.stay", how, variables={})
        _, progress = terminal.communicate(timeout=120)
        assert terminal.returncode == 0, progress

    def family(self) -> list[psutil.Process]:
        """Who runs the servers, and all of them."""
        runner = psutil.Process(Lock(self.folder / ".dev/servers.lock").holder)
        return [runner, *runner.children(recursive=True)]

    def postgres(self) -> psutil.Process:
        """The server itself."""
        (found,) = json.loads((self.folder / ".dev/postgres/processes.json").read_text())
        return psutil.Process(found)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """One whose servers are gone at the end, with all that they wrote elsewhere."""
    place = Place(tmp_path)
    yield place
    links = [each.resolve() for each in (tmp_path / ".dev").glob("*") if each.is_symlink()]
    place.stop("reset")
    assert not list((tmp_path / ".dev").iterdir())
    assert not [each for each in links if each.exists()]
    assert not (tmp_path / ".env.running").exists()
