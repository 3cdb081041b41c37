"""Git, without the variables of a git command that runs us."""

import os
import subprocess
from pathlib import Path


class UpdateRefused(Exception):
    """Nothing was changed; says why, and what helps."""


def git(folder: Path, *arguments: str, **variables: str) -> str:
    """What git says there.

    Args:
        folder: where it runs.
        arguments: of git.
        variables: beside those of the process.

    Raises:
        subprocess.CalledProcessError: its status is not 0.
    """
    done = attempt(folder, *arguments, **variables)
    done.check_returncode()
    return done.stdout.strip()


def attempt(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The same, for a command that may fail."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = {f"GIT_{role}_NAME": "template" for role in ("AUTHOR", "COMMITTER")}
    where = {f"GIT_{role}_EMAIL": "template@localhost" for role in ("AUTHOR", "COMMITTER")}
    config = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**kept, **who, **where, **config, **variables},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def last_line(text: str) -> str:
    """The one with which a program mostly says what was wrong."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason")
