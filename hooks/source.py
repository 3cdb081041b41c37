"""Where the template comes from, written down for `make template-update` as cruft would.

`post_gen_project.py` runs this where it finds the template's folder; git is only asked.
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class SourceError(Exception):
    """Nobody could find this version of the template again; says why."""


def remember(project: Path, repo: Path, answers: Mapping[str, Any]) -> str:
    """Write `.cruft.json` and return what its reader has to know about it, often nothing."""
    try:
        known = state(repo, answers)
    except SourceError as why:
        return f"\n  no .cruft.json, which make template-update reads: {why}\n"
    content = json.dumps(known, ensure_ascii=False, indent=2) + "\n"
    (project / ".cruft.json").write_text(content, encoding="utf-8")
    follows = known["checkout"]
    return f"\n  make template-update   later, to follow {follows}\n" if follows else ""


def state(repo: Path, answers: Mapping[str, Any]) -> dict[str, Any]:
    """What cruft needs: it clones `template`, and there finds `commit` and `directory`.

    It reads no `checkout` itself: its user has to name a branch again.
    """
    if not git(repo, "ls-files", "cookiecutter.json"):
        raise SourceError("git knows no repository of its template")
    if git(repo, "status", "--porcelain", "--", "*cookiecutter*", "hooks"):
        raise SourceError("its template has changes that are not committed")
    top, commit = git(repo, "rev-parse", "--show-toplevel"), git(repo, "rev-parse", "HEAD")
    template, followed = place(repo, answers, top, commit)
    template = re.sub(r"^(https?://)[^/]*@", r"\1", template)  # a token is nobody else's business
    public = {question: answer for question, answer in answers.items() if question[0] != "_"}
    inside = repo.relative_to(top).as_posix()
    return {
        "template": template,
        "commit": commit,
        "checkout": followed,
        "context": {"cookiecutter": {**public, "_template": template}},
        "directory": None if inside == "." else inside,
        "skip": [".cruft.json", ".env"],
    }


def place(repo: Path, answers: Mapping[str, Any], top: str, commit: str) -> tuple[str, str | None]:
    """Where others find this commit, and what has to be checked out there to follow it."""
    origin = git(repo, "remote", "get-url", "origin")
    refs = ("--contains=HEAD", "--format=%(refname:strip=3)", "refs/remotes/origin")
    published = git(repo, "for-each-ref", *refs).split()
    # A folder that the user named is taken as it is; any other cookiecutter has cloned, sometimes
    # earlier: then it has not checked out what it was asked for.
    cloned = not Path(os.environ.get("PWD", "."), answers.get("_template", "")).exists()
    asked = answers.get("_checkout") if cloned else None
    if asked and git(repo, "rev-parse", f"{asked}^0") != commit:
        asked = None
    if not origin or not (published or cloned):
        return top, None
    if asked or not published or "HEAD" in published:  # which is origin's default branch
        return origin, asked
    return origin, published[0]


def git(repo: Path, *arguments: str) -> str:
    """What git says there; nothing where there is no repository or no git.

    The variables of a git command that runs us are about another repository.
    """
    surroundings = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    command = ["git", "-C", str(repo), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(
            command, env=surroundings, capture_output=True, text=True, errors="replace", check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
