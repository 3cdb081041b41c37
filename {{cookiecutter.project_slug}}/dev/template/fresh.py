"""A fresh project of a version of the template, with the answers of this one."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.template.git import UpdateRefused, git, last_line

_COOKIECUTTER = "cookiecutter==2.7.1"


def fresh(clone: Path, folder: str, commit: str, answers: Mapping[str, Any], work: Path) -> Path:
    """The project that this version makes of these answers.

    Args:
        clone: of the template's repository.
        folder: of the template in it.
        commit: the version.
        answers: to its questions; those that it does not ask are ignored, and those that are not
            answered have their defaults.
        work: a folder for what is made.

    Raises:
        UpdateRefused: the template makes none.
    """
    git(clone, "checkout", "--quiet", "--detach", "--force", commit)
    output = work / commit
    kept = {"replay_dir": str(work / "replay"), "cookiecutters_dir": str(work / "clones")}
    settings = work / "cookiecutter.yaml"
    settings.write_text(json.dumps(kept), encoding="utf-8")
    given = [f"{name}={_said(value)}" for name, value in answers.items()]
    command, variables = _program(work / "tools")
    place = str((clone / folder).resolve())
    options = ["--no-input", "--config-file", str(settings), "--output-dir", str(output)]
    done = subprocess.run(
        [*command, place, *options, *given],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise UpdateRefused(
            f"the template at {commit[:10]} makes no project of the answers in .cruft.json: "
            f"{last_line(done.stdout + done.stderr)}. Correct them there and commit that"
        )
    return next(output.iterdir())


def _program(tools: Path) -> tuple[list[str], Mapping[str, str]]:
    """How cookiecutter is called: the one that is here, or one that is fetched for this alone."""
    here = [sys.executable, "-m", "cookiecutter"]
    if importlib.util.find_spec("cookiecutter"):
        return here, {}
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "--from", _COOKIECUTTER, "cookiecutter"], {}
    if not tools.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--target", str(tools), _COOKIECUTTER], check=False)
        if done.returncode:
            raise UpdateRefused(
                f"{_COOKIECUTTER} cannot be fetched, see above; with it installed in this "
                "environment nothing has to be fetched"
            )
    return here, {"PYTHONPATH": str(tools)}


def _said(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
