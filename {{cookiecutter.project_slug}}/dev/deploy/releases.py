"""The two releases: one from git, in a folder of its own, and the working tree."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from acme_orders.chassis.errors import ConfigurationError

PACKAGE = "acme_orders"
_PATIENCE = 120  # seconds


@dataclass(frozen=True)
class Release:
    """Code in a folder, which runs with the packages of this environment.

    Args:
        name: what the report calls it.
        folder: of the project.
    """

    name: str
    folder: Path

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Variables under which Python finds its code, and nothing of the other release."""
        paths = os.pathsep.join(map(str, (self.folder / "src", self.folder)))
        return {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", **settings}

    def command(self, *arguments: str) -> list[str]:
        """Its command line."""
        return [sys.executable, "-m", PACKAGE, *arguments]

    def run(self, command: list[str], settings: Mapping[str, str]) -> tuple[int, str, str]:
        """Run something of it to its end; status, output and what it said beside that."""
        try:
            ended = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment(settings),
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return 1, "", f"{' '.join(command[1:])} takes longer than {_PATIENCE} s"
        return ended.returncode, ended.stdout, ended.stderr


def released(project: Path, reference: str, folder: Path) -> Release:
    """The code of a git reference, written to an empty folder; the newest tag if it is empty.

    Raises:
        ConfigurationError: there is no repository, no tag, or no such reference.
    """
    if not _git(project, "rev-parse", "--is-inside-work-tree"):
        raise ConfigurationError(
            f"{project} is in no git repository, so there is no release before this one: run "
            "`git init`, commit, and tag each release"
        )
    if not reference:
        reference = _git(project, "describe", "--tags", "--abbrev=0").decode().strip()
    if not reference:
        raise ConfigurationError(
            "no tag says which release runs at the moment: `git tag 1.0` where it is, or name the "
            "commit: make deploy-rehearsal FROM=main"
        )
    if not _git(project, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}"):
        raise ConfigurationError(
            f"git knows no {reference!r}: `git tag` and `git branch` list what there is; in a "
            "shallow clone, `git fetch --tags --unshallow` brings the rest"
        )
    archive = _git(project, "archive", "--format=tar", reference, ".")
    if not archive:
        raise ConfigurationError(f"{reference} does not have this project yet")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    if not (folder / "src" / PACKAGE).is_dir():
        raise ConfigurationError(f"{reference} has no src/{PACKAGE}: it is another project")
    return Release(reference, folder)


def changed(project: Path, reference: str) -> str:
    """What of the working tree the rehearsal takes for the new release, in words."""
    dirty = _git(project, "status", "--porcelain", "--", ".").decode().splitlines()
    if dirty:
        return f"the working tree, with {len(dirty)} files that are not committed"
    if not _git(project, "diff", "--name-only", reference, "--", ".").strip():
        return f"the working tree, which is {reference} unchanged"
    return "the working tree"


def _git(project: Path, *arguments: str) -> bytes:
    """What git answers; empty if it says no, or is not installed."""
    try:
        ended = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, check=False, timeout=60
        )
    except FileNotFoundError:
        return b""
    return ended.stdout if ended.returncode == 0 else b""
