"""What is known from runs before, so that one goes on where the last one ended."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from dev.mutations.mutant import Mutant

_ASKED = ("src", "migrations", "tests", "readiness")  # what an answer depends on


class Memory:
    """Remembers who noticed what.

    A mutant that was noticed stays so while its own files are the same. One that nobody noticed is
    asked about again as soon as anything of the project has changed: perhaps that is a test for it.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._file = root, root / ".dev" / "mutations.json"
        known = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        self._answers: dict[str, list[str]] = known  # kind, who, the project if nobody
        self._project, self._lock = _digest(root), Lock()

    def answer(self, mutant: Mutant) -> str | None:
        """Who noticed it; "" if nobody did, None if that is not known."""
        _, who, project = self._answers.get(mutant.digest(self._root), ("", None, ""))
        return who if who or project == self._project else None

    def before(self, kind: str) -> list[str]:
        """Who has noticed mutants of this kind, most often first: they are asked first."""
        who = Counter(who for k, who, _ in list(self._answers.values()) if k == kind and who)
        return [name for name, _ in who.most_common()]

    @property
    def sound(self) -> bool:
        """Whether the project as it is was seen to be well."""
        return self._answers.get("") == ["", "", self._project]

    def keep(self, mutant: Mutant | None, who: str) -> None:
        """Write an answer down; that of no mutant is that the project is well."""
        key = mutant.digest(self._root) if mutant else ""
        with self._lock:
            answer = [mutant.kind if mutant else "", who, "" if who else self._project]
            self._answers[key] = answer
            self._file.parent.mkdir(exist_ok=True)
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(self._answers), "utf-8")
            new.replace(self._file)


def _digest(root: Path) -> str:
    found = hashlib.sha256()
    for file in _files(root):
        found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for folder in _ASKED:
        for suffix in ("py", "sql"):
            yield from sorted((root / folder).rglob(f"*.{suffix}"))
