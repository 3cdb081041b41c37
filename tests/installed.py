"""A project as it is shipped: its wheel, what that requires, and nothing else.

Nothing is fetched: each environment is made of links to what is installed here. Which files those
are follows from the metadata of the wheel, as a resolver would read them.
"""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class Installed:
    """A fresh environment in `folder`, and beside it the folder in which its program runs.

    As in the image, the program runs where nothing of the project is but its migrations.
    """

    def __init__(self, project: Path, folder: Path) -> None:
        self.home, self._environment = folder / "app", folder / "venv"
        venv.EnvBuilder(symlinks=True).create(self._environment)
        (self._library,) = self._environment.glob("lib/python*/site-packages")
        command = ["hatchling", "build", "--target=wheel", "--directory", str(folder)]
        subprocess.run(
            [sys.executable, "-m", *command], cwd=project, check=True, capture_output=True
        )
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(self._library)
        itself = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
        self._shipped = Distribution.at(self._library / itself)
        for name in required(self._shipped.requires or []):
            self._link(distribution(name))
        self.program = self._program()
        shutil.copytree(project / "migrations", self.home / "migrations")

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self._environment / "bin/python")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the program until it ends."""
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.home,
            env=surroundings(**variables),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ask(self, code: str) -> str:
        """Run Python in the environment, and return what it prints."""
        command = [self.python, "-c", code]
        done = subprocess.run(command, cwd=self.home, env=surroundings(), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def _program(self) -> str:
        (entry,) = self._shipped.entry_points.select(group="console_scripts")
        script = self._environment / "bin" / entry.name
        call = f"from {entry.module} import {entry.attr}\n{entry.attr}()\n"
        script.write_text(f"#!{self.python}\n{call}")
        script.chmod(0o755)
        return str(script)

    def _link(self, installed: Distribution) -> None:
        for file in installed.files or []:
            source, target = Path(str(installed.locate_file(file))), self._library / file
            if ".." in file.parts or not source.exists():
                continue  # a script, or compiled code that somebody has removed
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(source)


def surroundings(**variables: str) -> dict[str, str]:
    """What a container has: nothing of whoever runs us."""
    return {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "TMPDIR": _temporary(), **variables}


def required(requirements: list[str]) -> Iterator[str]:
    """Every distribution that these ask for, directly or not; an extra only if one names it."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(each), "") for each in requirements]
    while waiting:
        requirement, asked_with = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": asked_with}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if not extra:
                yield name
            waiting += [(Requirement(each), extra) for each in distribution(name).requires or []]


def _temporary() -> str:
    return os.environ.get("TMPDIR", "/tmp")
