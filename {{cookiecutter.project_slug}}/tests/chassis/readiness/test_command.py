"""What a person and a program see of the checklist."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from readiness.checklist import CHECKS
from tests.chassis.conftest import PROJECT

DOWN = "0003_inbox.down.sql"
UNCHANGED: Mapping[str, str] = {}


def ask(
    *arguments: str,
    home: Path = PROJECT,
    settings: Mapping[str, str] = UNCHANGED,
    module: str = "readiness",
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder that has migrations."""
    known = {"ENVIRONMENT": "test", "BROKER_URL": "memory://"}
    known |= {"PYTHONPATH": os.pathsep.join(map(str, (PROJECT / "src", PROJECT)))}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=home,
        env={**os.environ, **known, **settings},
        capture_output=True,
        text=True,
        timeout=280,  # a busy machine is slow
        check=False,
    )


def test_it_goes_through_every_check(tmp_path: Path) -> None:
    """Status 0, and nothing but JSON for a program; a page for a release."""
    ended = ask("--json", "--html", str(tmp_path / "page.html"))
    assert ended.returncode == 0, ended.stderr
    checks = json.loads(ended.stdout)["checks"]
    assert [(each["id"], each["passed"]) for each in checks] == [(one.id, True) for one in CHECKS]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f">{one.id}</td>" in page for one in CHECKS)
    assert ">Ready<" in page


def test_a_finding_is_shown_with_advice(tmp_path: Path) -> None:
    """Status 1; the migrations are those of the folder in which it runs."""
    shutil.copytree(PROJECT / "migrations", tmp_path / "migrations")
    (tmp_path / "migrations" / DOWN).write_text("", encoding="utf-8")
    ended = ask(home=tmp_path, settings={"COLUMNS": "200"})
    assert ended.returncode == 1, ended.stderr
    assert f"{DOWN} is empty" in ended.stdout
    assert "→ Write a down file" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "says"),
    [
        (["--jsn"], {}, 2, "--jsn"),
        (["--html", "nowhere/page.html"], {}, 78, "there is no folder nowhere; make it"),
        ([], {"DATABASE_URL": "mysql://here"}, 78, "DATABASE_URL: must begin with postgresql://"),
        ([], {"DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/none"}, 1, "127.0.0.1"),
    ],
)
def test_what_it_cannot_do_is_said(
    arguments: list[str], settings: dict[str, str], status: int, says: str
) -> None:
    """With the statuses of every command, and without the password."""
    ended = ask(*arguments, settings=settings)
    assert ended.returncode == status, ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr


def test_it_explains_itself() -> None:
    """With its option."""
    ended = ask("--help")
    assert ended.returncode == 0
    assert "Inspect what this project has become" in ended.stdout
    assert "--json" in ended.stdout


def test_contracts_are_recorded_and_released(tmp_path: Path) -> None:
    """The second time nothing is left to do; a release is of what is recorded only."""
    for name in ("migrations", "pyproject.toml"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, tmp_path / name)
    contracts = partial(ask, home=tmp_path, module="readiness.contracts")

    first, again, kept = contracts("update"), contracts("update"), contracts("release")
    file = next((tmp_path / "contracts" / "chassis").iterdir())
    file.unlink()
    refused = contracts("release")

    assert (first.returncode, again.returncode, kept.returncode) == (0, 0, 0), first.stderr
    assert f"recorded contracts/chassis/{file.name}" in first.stdout
    assert re.fullmatch(r"\d+ contracts are up to date\n", again.stdout)
    assert "migrations of version" in kept.stdout
    assert (tmp_path / "contracts" / "released" / "release.json").exists()
    assert refused.returncode == 1
    assert f"contracts/chassis/{file.name} is missing" in refused.stderr
    assert "make contracts-update" in refused.stderr
