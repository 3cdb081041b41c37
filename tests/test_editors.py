"""What editors read of a project is carried out as they do: the dev container, and the tests."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.conftest import Bake
from tests.machine import Machine, impossible, interpreter
from tests.workplace import Workplace

FOLDER = "/workspaces/acme-orders"
SERVERS = "from dev.stay import standing; standing()"

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """One for each test."""
    if why := impossible():
        pytest.skip(f"a dev container can't be carried out here: {why}")
    with Machine(tmp_path / "machine") as machine:
        yield machine
    shutil.rmtree(tmp_path / "machine")


class Editor:
    """VS Code, as far as its settings say what it does."""

    def __init__(self, place: Workplace, project: Path) -> None:
        text = (project / ".vscode/settings.json").read_text("utf-8")
        self._settings: Mapping[str, Any] = json.loads(text)
        self._place = place

    def _at(self, name: str) -> str:
        found = self._settings[name].replace("${workspaceFolder}", self._place.folder)
        assert "${" not in found
        return str(found)

    def pytest(self, *arguments: str) -> str:
        """Run tests, with what stands in the file of variables, if there is one."""
        assert self._settings["python.testing.pytestEnabled"]
        assert not self._settings["python.testing.unittestEnabled"]
        python, file = self._at("python.defaultInterpreterPath"), self._at("python.envFile")
        there = dotenv_values(self._place.machine.path(file))
        known = {name: value or "" for name, value in there.items()}
        return self._place.run(python, "-m", "pytest", "-q", *arguments, **known)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.matrix)])
def test_tests_are_found_in_the_dev_container(machine: Machine, bake: Bake, real: bool) -> None:
    """After what it does when it is made; with servers that stay they run as well."""
    project = bake()
    container = json.loads((project / ".devcontainer/devcontainer.json").read_text("utf-8"))
    image = re.fullmatch(r"python:(\d+\.\d+)", container["image"])
    assert image
    python = interpreter(image[1]) if real else None
    if real and not python:
        pytest.skip(f"Python {image[1]} is not installed here")
    place = Workplace(machine, project, FOLDER, "root", python)
    place.run("sh", "-c", container["postCreateCommand"])
    editor = Editor(place, project)
    found = editor.pytest("--collect-only")
    assert "tests/orders/" in found
    assert int(re.findall(r"(\d+)(?:/\d+)? tests collected", found)[0]) > 10
    if real:
        place.run(f"{FOLDER}/.venv/bin/python", "-c", SERVERS)
        try:
            assert " passed" in editor.pytest("tests/orders")
        finally:
            place.run("make", "dev-stop")


def test_what_is_recommended_is_the_same(project: Path) -> None:
    """To whoever opens the folder, and in the dev container."""
    folder = json.loads((project / ".vscode/extensions.json").read_text("utf-8"))
    container = json.loads((project / ".devcontainer/devcontainer.json").read_text("utf-8"))
    assert folder["recommendations"] == container["customizations"]["vscode"]["extensions"]
