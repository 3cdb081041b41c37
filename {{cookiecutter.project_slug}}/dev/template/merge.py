"""Merges the difference between two fresh projects into this one.

The three-way merge of git, with the fresh project of the version then as what both come from. Its
trees are written into the repository, so that git has every text that a merge needs.
"""

import fnmatch
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dev.template.git import UpdateRefused, attempt, git, last_line

_WHAT = {
    frozenset("123"): "both changed the same lines",
    frozenset(
        "12"
    ): "you changed it, and the template no longer has it: `git rm` it or `git add` it",
    frozenset("23"): "both have a new file of this name",
}


@dataclass(frozen=True)
class Merged:
    """What became of it.

    Args:
        changed: files that are different now.
        conflicts: what is wrong, by path.
        away: files that you have removed, and that stay so.
    """

    changed: tuple[str, ...]
    conflicts: Mapping[str, str]
    away: tuple[str, ...]


def merge(project: Path, old: Path, new: Path, skip: Iterable[str]) -> Merged:
    """Merge them, into the working tree and the index.

    Args:
        project: its folder, in a repository where all is committed.
        old: the fresh project of the version that it has.
        new: that of the version to which it goes.
        skip: patterns of paths that stay as they are.

    Raises:
        UpdateRefused: git refused; nothing has changed.
    """
    skip = list(skip)
    before, after = (_tree(project, each, skip) for each in (old, new))
    base = git(project, "commit-tree", before, "-m", "The template then")
    theirs = git(project, "commit-tree", after, "-p", base, "-m", "The template now")
    ours = git(project, "rev-parse", "HEAD")
    labels = {f"GITHEAD_{ours}": "yours", f"GITHEAD_{theirs}": "the template"}
    # By path alone: a slice of yours may look like one of the template that you have removed.
    # `git merge` and `git cherry-pick` go by renames whatever they are told.
    command = ("merge-recursive", "--no-renames", base, "--", ours, theirs)
    done = attempt(project, *command, **labels)
    left = _unmerged(project)
    if done.returncode and not left:
        raise UpdateRefused(f"git refused to merge: {last_line(done.stderr)}")
    away = [path for path, stages in left.items() if stages == frozenset("13")]
    away += _in_removed_folders(project, base, theirs)
    if away:
        git(project, "rm", "--quiet", "--force", "--", *away)
    conflicts = {path: _WHAT[each] for path, each in left.items() if each in _WHAT}
    changed = git(project, "diff", "--name-only", "--relative", "HEAD").splitlines()
    return Merged(tuple(changed), conflicts, tuple(sorted(away)))


def _tree(project: Path, folder: Path, skip: Iterable[str]) -> str:
    """Write what stands in a folder into the repository of the project; its id."""
    for path in [each for each in folder.rglob("*") if not each.is_dir()]:
        name = path.relative_to(folder).as_posix()
        if any(fnmatch.fnmatch(name, each) or name.startswith(f"{each}/") for each in skip):
            path.unlink()
    where = git(project, "rev-parse", "--absolute-git-dir")
    plain = ("-c", f"core.excludesFile={os.devnull}", "-c", "core.autocrlf=false")
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        place = (f"--git-dir={where}", f"--work-tree={folder}")
        git(folder, *place, *plain, "add", "--all", ".", **index)
        tree = git(folder, *place, "write-tree", **index)
        if prefix := git(project, "rev-parse", "--show-prefix"):  # one project of several
            inside = {"GIT_INDEX_FILE": str(Path(scratch, "inside"))}
            git(project, "read-tree", f"--prefix={prefix}", tree, **inside)
            tree = git(project, "write-tree", **inside)
        return tree


def _unmerged(project: Path) -> dict[str, frozenset[str]]:
    """Which of 1 (then), 2 (yours) and 3 (now) there are of each file that is not merged."""
    found: dict[str, frozenset[str]] = {}
    for entry in git(project, "ls-files", "--unmerged", "-z").split("\0"):
        if entry:
            head, _, path = entry.partition("\t")
            found[path] = found.get(path, frozenset()) | {head[-1]}
    return found


def _in_removed_folders(project: Path, base: str, theirs: str) -> list[str]:
    """What the template adds in folders that you have removed, such as those of the example."""
    then, yours, now = (_files(project, each) for each in (base, "HEAD", theirs))
    gone = _folders(then) - _folders(yours)
    return [path for path in sorted(now - then) if str(PurePosixPath(path).parent) in gone]


def _files(project: Path, commit: str) -> set[str]:
    return set(git(project, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")) - {""}


def _folders(files: Iterable[str]) -> set[str]:
    return {str(parent) for path in files for parent in PurePosixPath(path).parents}
