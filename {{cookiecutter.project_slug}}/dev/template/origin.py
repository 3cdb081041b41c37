"""The template that `.cruft.json` names: a clone of it, its versions, and what they say is new."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.template.git import UpdateRefused, attempt, git, last_line

FILE = Path(".cruft.json")
NEWS = "### What changed for you"
_NO_FILE = (
    "there is no .cruft.json, which says where the template is: the project was made from an "
    "archive, or from changes that were not committed. `uvx cruft link ADDRESS --checkout COMMIT` "
    "writes it: answer as you did then, commit it, and come back; docs/template-update.md has a "
    "way without"
)


@dataclass(frozen=True)
class Origin:
    """What this project remembers of its template.

    Args:
        address: of its repository.
        commit: that the project has.
        follows: a branch or a tag that was asked for; None means the newest release.
        folder: of the template in its repository.
        answers: to its questions.
        skip: patterns of paths that an update leaves alone.
    """

    address: str
    commit: str
    follows: str | None
    folder: str
    answers: Mapping[str, Any]
    skip: tuple[str, ...]

    @classmethod
    def of(cls, project: Path) -> "Origin":
        """What stands in `.cruft.json`.

        Raises:
            UpdateRefused: there is none, or it is not one.
        """
        try:
            known = json.loads((project / FILE).read_text("utf-8"))
            answers = known["context"]["cookiecutter"]
            return cls(
                address=known["template"],
                commit=known["commit"],
                follows=known.get("checkout"),
                folder=known.get("directory") or ".",
                answers={name: each for name, each in answers.items() if name[0] != "_"},
                skip=(str(FILE), *known.get("skip", ())),
            )
        except FileNotFoundError:
            raise UpdateRefused(_NO_FILE) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UpdateRefused(
                f".cruft.json cannot be understood ({error!r}): restore it with "
                "`git log -- .cruft.json` and `git checkout COMMIT -- .cruft.json`"
            ) from None

    def clone(self, place: Path) -> None:
        """Fetch the template.

        Raises:
            UpdateRefused: it is not there, or no longer has the commit of this project.
        """
        done = attempt(place.parent, "clone", "--quiet", "--no-checkout", self.address, str(place))
        if done.returncode:
            raise UpdateRefused(
                f"the template at {self.address} cannot be fetched: {last_line(done.stderr)}. "
                'If it has moved, correct "template" in .cruft.json and commit that; if it is '
                "private, see that `git ls-remote` can read it"
            )
        if attempt(place, "cat-file", "-e", f"{self.commit}^{{commit}}").returncode:
            raise UpdateRefused(
                f"the template at {self.address} has no commit {self.commit}, from which this "
                "project was made: its history was written anew, or it was never published. "
                'Correct "commit" in .cruft.json to the published one that is most like it'
            )

    def target(self, clone: Path, to: str) -> str:
        """The commit to which the project goes; its own if there is nothing newer.

        Args:
            clone: of the template.
            to: a branch, tag or commit; empty for what is followed, or else the newest release.

        Raises:
            UpdateRefused: there is no `to`.
        """
        for name in (to, self.follows) if not to else (to,):
            branch = attempt(clone, "rev-parse", "--quiet", "--verify", f"origin/{name}^0")
            if name and not branch.returncode:
                return branch.stdout.strip()
        if to:
            named = attempt(clone, "rev-parse", "--quiet", "--verify", f"{to}^0")
            if named.returncode:
                tags = ", ".join(versions(clone)[:5]) or "no tags"
                raise UpdateRefused(
                    f"the template has no branch, tag or commit {to!r}; it has {tags}"
                )
            return named.stdout.strip()
        if not (tags_ := versions(clone)):
            return git(clone, "rev-parse", "origin/HEAD^0")
        newest = git(clone, "rev-parse", f"{tags_[0]}^0")
        newer = attempt(clone, "merge-base", "--is-ancestor", newest, self.commit).returncode
        return newest if newer else self.commit


def versions(clone: Path) -> list[str]:
    """The tags of releases, the newest first."""
    return git(clone, "tag", "--list", "v[0-9]*", "--sort=-version:refname").split()


def called(clone: Path, commit: str) -> str:
    """How people call a commit: by its tag, or by the start of its id."""
    tag = attempt(clone, "describe", "--tags", "--exact-match", commit)
    return tag.stdout.strip() or commit[:10]


def news(clone: Path, old: str, new: str) -> Iterator[str]:
    """What the changelog of the template says to projects, and did not say before."""
    before = set(attempt(clone, "show", f"{old}:CHANGELOG.md").stdout.splitlines())
    version, inside = "", False
    for line in attempt(clone, "show", f"{new}:CHANGELOG.md").stdout.splitlines():
        if line.startswith("## "):
            version = line.removeprefix("## ")
        if line.startswith("#"):
            inside = line == NEWS
        elif inside and line.strip() and line not in before:
            if version:
                yield version
                version = ""
            yield line
