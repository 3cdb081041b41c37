"""The files that are looked at."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Place = ast.stmt | ast.expr | ast.ExceptHandler
Found = Iterator[tuple[Place, str]]
CHASSIS = frozenset({"chassis", "readiness"})


@dataclass(frozen=True)
class Source:
    """A file of the package, of the checklist or of the tests.

    `parts` is its module, such as `("parcels", "api")`, or `("readiness", "plans")` beside it.
    """

    path: str
    package: str
    folders: frozenset[str]
    parts: tuple[str, ...]
    test: bool
    text: str


def sources(root: Path) -> Iterator[Source]:
    """Every file of the one package below `src/`, of the checklist, and every test.

    Raises:
        LookupError: there is no package, or more than one.
    """
    packages = [file.parent for file in root.glob("src/*/__init__.py")]
    if len(packages) != 1:
        raise LookupError(f"{root / 'src'} holds {len(packages)} packages instead of one")
    package, checklist, tests = packages[0], root / "readiness", root / "tests"
    folders = frozenset(each.name for each in package.iterdir() if each.is_dir())
    for folder, base in ((package, package), (checklist, root), (tests, tests)):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(base).with_suffix("").parts
            path, test = str(file.relative_to(root)), folder == tests
            text = file.read_text(encoding="utf-8")
            yield Source(path, package.name, folders, parts, test, text)
