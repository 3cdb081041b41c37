"""The command behind `make template-update`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from dev.template.fresh import fresh
from dev.template.git import UpdateRefused, attempt, git
from dev.template.merge import Merged, merge
from dev.template.origin import FILE, Origin, called, news

_SHOWN = 20  # files; a list that is longer is not read
_UNDO = "to give up: `git reset --hard`; all that is yours was committed"


def main() -> int:
    """Update, and return the exit status: 1 if there are conflicts, 2 if it was refused."""
    parser = argparse.ArgumentParser(prog="make template-update", description=__doc__)
    parser.add_argument("--to", default="", metavar="REF", help="instead of the newest release")
    try:
        return update(Path.cwd(), parser.parse_args().to)
    except UpdateRefused as why:
        print(f"nothing was changed: {why}", file=sys.stderr)
        return 2


def update(project: Path, to: str) -> int:
    """Bring what is new, say what became of it, and return the exit status.

    Raises:
        UpdateRefused: nothing was changed.
    """
    refuse_what_could_be_lost(project)
    origin = Origin.of(project)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        clone = work / "template"
        origin.clone(clone)
        commit = origin.target(clone, to)
        if commit == origin.commit:
            print(f"up to date: {called(clone, commit)} is the newest; `to=REF` takes another")
            return 0
        old = fresh(clone, origin.folder, origin.commit, origin.answers, work)
        new = fresh(clone, origin.folder, commit, origin.answers, work)
        told = json.loads((new / FILE).read_text("utf-8"))["context"]
        merged = merge(project, old, new, origin.skip)
        print(f"from {called(clone, origin.commit)} to {called(clone, commit)} of the template")
        for line in news(clone, origin.commit, commit):
            print(f"  {line}")
    remember(project, commit, told)
    return tell(merged)


def refuse_what_could_be_lost(project: Path) -> None:
    """What is not committed could not be told from what the template brings.

    Raises:
        UpdateRefused: there is such work, or no repository, or no commit.
    """
    if attempt(project, "rev-parse", "--verify", "--quiet", "HEAD").returncode:
        raise UpdateRefused(
            "git has no history of this project, with which the template could be merged: "
            "`git init`, `git add --all` and `git commit`, first of what was generated"
        )
    if work := git(project, "status", "--porcelain").splitlines():
        more = f" and {len(work) - _SHOWN} more" if len(work) > _SHOWN else ""
        listed = "\n  ".join(work[:_SHOWN])
        raise UpdateRefused(
            f"some work is not committed; commit it, or `git stash --all`:\n  {listed}{more}"
        )


def remember(project: Path, commit: str, told: object) -> None:
    """Write down which version the project has now, with the answers to new questions."""
    file = project / FILE
    known = json.loads(file.read_text("utf-8")) | {"commit": commit}
    context = json.loads(json.dumps(told))
    context["cookiecutter"] |= {"_template": known["template"]}
    text = json.dumps(known | {"context": context}, ensure_ascii=False, indent=2)
    file.write_text(f"{text}\n", encoding="utf-8")
    git(project, "add", "--", str(FILE))


def tell(merged: Merged) -> int:
    """Say what became of it, and return the exit status."""
    print(f"{len(merged.changed)} files changed: `git diff --cached --stat` lists them")
    if merged.away:
        print(f"{len(merged.away)} files stay away, because you have removed them or their folder:")
        print(*(f"  {path}" for path in merged.away[:_SHOWN]), sep="\n")
    if not merged.conflicts:
        return 0
    print(f"{len(merged.conflicts)} files have conflicts:")
    print(*(f"  {path}: {what}" for path, what in merged.conflicts.items()), sep="\n")
    print(
        "In each, yours stands after <<<<<<<, and the template's after =======. Write what is "
        "right, and `git add` it.\nAt last, `make template-proof` says whether the project still "
        f"starts; {_UNDO}"
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
