"""Which files of the project are business, which of them have changed, and all their mutants."""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dev.mutations.code import in_code
from dev.mutations.models import Rule, rules, tables
from dev.mutations.mutant import Edit, Mutant
from dev.mutations.schema import in_migration, without_way_back

_MIGRATIONS = Path("migrations")


def mutants(root: Path) -> list[Mutant]:
    """All of a project, one of each kind after the other, so that a short run sees every kind."""
    numbers = Counter[str]()
    placed = []
    for mutant in filter(lambda each: _is_readable(root, each), _all(root)):
        numbers[mutant.kind] += 1
        placed.append((numbers[mutant.kind], mutant))
    return [mutant for _, mutant in sorted(placed, key=lambda each: each[0])]


def slices(root: Path) -> list[Path]:
    """The folders of slices, relative to the project."""
    found = {file.parent.relative_to(root) for file in root.glob("src/*/*/slice.py")}
    return sorted(each for each in found if each.name != "chassis")


def changed(root: Path, since: str) -> set[Path] | None:
    """The files that are not as they were in a commit of git; None where there is no git.

    Raises:
        LookupError: git does not know the commit.
    """
    if _git(root, "rev-parse", "--is-inside-work-tree") is None:
        return None
    tracked = _git(root, "diff", "--name-only", "--relative", "-z", since, "--", ".")
    if tracked is None:
        raise LookupError(f"git knows no commit {since!r}: say since=REF, or all=1")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z") or ""
    return {Path(name) for name in f"{tracked}{new}".split("\0") if name}


def _all(root: Path) -> Iterator[Mutant]:
    models: dict[str, dict[Rule, Edit]] = {}
    folders = slices(root)
    modules = sorted(file for folder in folders for file in (root / folder).rglob("*.py"))
    for file in modules:
        text = file.read_text("utf-8")
        models |= {table: models.get(table, {}) for table in tables(text)}
        for rule, edit in rules(file.relative_to(root), text):
            models[rule.table][rule] = edit
    for file in [*modules, *root.glob("src/*/service.py")]:
        yield from in_code(file.relative_to(root), file.read_text("utf-8"))
    for file in sorted((root / _MIGRATIONS).glob("*.up.sql")):
        yield from in_migration(file.relative_to(root), file.read_text("utf-8"), models)
    for file in sorted((root / _MIGRATIONS).glob("*.down.sql")):
        yield from without_way_back(file.relative_to(root), file.read_text("utf-8"))


def _is_readable(root: Path, mutant: Mutant) -> bool:
    """A change that Python cannot read is one that nobody makes."""
    for file, text in mutant.changed(root).items():
        if file.suffix == ".py":
            try:
                ast.parse(text)
            except SyntaxError:
                return False
    return True


def _git(root: Path, *arguments: str) -> str | None:
    try:
        ended = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if ended.returncode else ended.stdout
