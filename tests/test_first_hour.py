"""`docs/first-hour.md` is true word for word, whatever was chosen."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.answers import FLAGS
from tests.conftest import Bake
from tests.first_hour import DEV, Reader, blocks, changed, steps
from tests.machine import Machine, impossible, python_here
from tests.test_service import python
from tests.workplace import Workplace, verbs

PAGE = "docs/first-hour.md"
NAMES = {"project_name": "My Shop", "project_slug": "my-shop", "package_name": "my_shop"}
TEN_MINUTES = 600


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """One for each test."""
    if why := impossible():
        pytest.skip(f"there is no machine to begin on here: {why}")
    with Machine(tmp_path / "machine") as machine:
        yield machine
    shutil.rmtree(tmp_path / "machine")


@pytest.mark.matrix
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "answers",
    [
        {},
        {**NAMES, "http_api": False, "ci": "none"},
        {**NAMES, "tenancy": "schema", "http_api": False, "ci": "none"},
        {**NAMES, "database_driver": "psycopg", "tenancy": "rls"} | dict.fromkeys(FLAGS, True),
    ],
    ids=["default", "smallest", "schema", "everything"],
)
def test_the_hour_goes_as_it_is_written(
    machine: Machine, bake: Bake, answers: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine where nothing is installed yet, by somebody who does only what it says."""
    place = Workplace(machine, bake(**answers), "/home/somebody/shop", "somebody", python_here())
    shutil.rmtree(machine.path("/home/somebody/shop/.git"))
    reader = Reader(place)
    try:
        reader.work_through(bake(**answers) / PAGE)
    finally:
        with capsys.disabled():
            for seconds, what in reader.times:
                print(f"{seconds:7.1f} s  {what}")
    # What is installed comes from a network, as fast as that may be.
    worked = [seconds for seconds, what in reader.times if what != "make setup"]
    assert sum(worked) < TEN_MINUTES


def test_what_it_speaks_of_is_there(bake_fresh: Bake) -> None:
    """Its verbs, its programs, and the places in which it changes something."""
    project = bake_fresh(**NAMES)
    commands = [
        command.split()
        for block in blocks(project / PAGE)
        for command, _ in steps(block.lines)
        if block.kind == "console"
    ]
    assert ["make", "dev"] == DEV.split() in commands
    asked = {name for program, name, *_ in commands if program == "make"}
    assert asked <= verbs(project / "Makefile")
    assert {program for program, *_ in commands} == {"git", "make", ".", "my-shop", "python"}

    assert python(project, "-m", "dev.new", "--slice", "parcels").returncode == 0
    for block in blocks(project / PAGE):
        if block.kind == "diff":
            file = project / block.lines[0].removeprefix("--- ")
            file.write_text(changed(file.read_text("utf-8"), block.lines[1:]), "utf-8")
            for command in ("check", "format --check"):
                ruff = [sys.executable, "-m", "ruff", *command.split(), "src/my_shop/parcels"]
                done = subprocess.run(ruff, cwd=project, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout
