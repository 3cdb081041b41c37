"""Migrations that projects have applied stay as they are: a changed one stops their service."""

import hashlib
import subprocess
from pathlib import Path

from tests.answers import PROJECT, ROOT

RELEASED = ROOT / "tests" / "released_migrations.sha256"
FOLDER = ROOT / PROJECT / "migrations"


def lines(text: str) -> dict[str, str]:
    """The checksum of each file, as `sha256sum` writes them."""
    return {name: checksum for checksum, name in map(str.split, text.splitlines())}


def test_released_migrations_are_not_changed() -> None:
    """Write a new one instead, in `migrations/chassis/`; a new one is written down with
    `cd migrations && sha256sum chassis/NAME.up.sql`.
    """
    files = {str(file.relative_to(FOLDER)): file for file in FOLDER.rglob("*.up*.sql")}
    found = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert found == lines(RELEASED.read_text("utf-8"))


def test_the_list_of_them_only_grows() -> None:
    """Otherwise a change of both would go unseen."""
    now = lines(RELEASED.read_text("utf-8"))
    for commit in git("log", "--format=%H", "--", str(RELEASED)).split():
        before = lines(git("show", f"{commit}:{RELEASED.relative_to(ROOT)}"))
        assert before.items() <= now.items(), commit


def git(*arguments: str) -> str:
    """What git says about this repository; nothing where there is none."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def test_each_has_its_counterpart() -> None:
    """The way back is as old as the way there."""
    for name in lines(RELEASED.read_text("utf-8")):
        assert Path(FOLDER, name.split(".up", 1)[0] + ".down.sql").is_file()
