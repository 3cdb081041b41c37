"""A copy of the project in which mutants are made, and asked about."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from compileall import compile_dir
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode
from shutil import copytree, ignore_patterns

from dev.mutations.mutant import Mutant
from dev.mutations.project import slices

_LONGEST = 300  # seconds; what hangs is noticed too
_LEFT = ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


class Workshop:
    """A copy of a project.

    Args:
        project: its folder, of which nothing is changed.
        folder: of the copy; it is made.
    """

    def __init__(self, project: Path, folder: Path) -> None:
        self._root = folder
        copytree(project, folder, ignore=_LEFT)
        # By date and size, a change back within a second would go unseen.
        compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)

    def noticed(self, mutant: Mutant | None, before: Sequence[str]) -> tuple[str, str]:
        """Who notices, and what they say; ("", "") if nobody does.

        Args:
            mutant: None for the project as it is.
            before: who is asked first.
        """
        asks = [self._checks, self._tests]
        if before[:1] == ["tests"]:
            asks.reverse()
        with self._changed(mutant):
            for ask in asks:
                if (found := ask(before))[0]:
                    return found
        return "", ""

    def _checks(self, before: Sequence[str]) -> tuple[str, str]:
        ended = self._run("dev.mutations.inside", *before)
        if ended is None:
            return "time", f"the checklist took longer than {_LONGEST} s"
        who, _, says = ended.stdout.strip().partition("\n")
        if ended.returncode:
            return "start", ended.stderr.strip().rpartition("\n")[2]
        return who, says

    def _tests(self, _: Sequence[str]) -> tuple[str, str]:
        folders = [Path("tests") / each.name for each in slices(self._root)]
        there = [str(each) for each in folders if (self._root / each).exists()]
        tests = ["tests/contracts/test_models.py", *there]
        ended = self._run("pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", *tests)
        if ended is None:
            return "time", f"the tests took longer than {_LONGEST} s"
        if ended.returncode:
            lines = [line for line in ended.stdout.splitlines() if line.startswith(("FAIL", "ERR"))]
            return "tests", (lines or [ended.stdout.strip().rpartition("\n")[2]])[0]
        return "", ""

    def _run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
        paths = os.pathsep.join(map(str, (self._root / "src", self._root)))
        here = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "ENVIRONMENT": "test"}
        try:
            return subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=self._root,
                env={**os.environ, **here, "BROKER_URL": "memory://"},
                capture_output=True,
                text=True,
                timeout=_LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None

    @contextmanager
    def _changed(self, mutant: Mutant | None) -> Iterator[None]:
        changed = mutant.changed(self._root) if mutant else {}
        before = {file: (self._root / file).read_bytes() for file in changed}
        for file, text in changed.items():
            (self._root / file).write_bytes(text)
        try:
            yield
        finally:
            for file, text in before.items():
                (self._root / file).write_bytes(text)
