"""The folder `contracts/`: what is kept there, compared with what the code sends."""

import difflib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from readiness.contracts.contract import Contract
from readiness.contracts.documents import NAMES

RELEASED = "released"
_LONGEST_DIFF = 40  # lines in a finding
_UPDATE = "if it is meant, `make contracts-update` records it for review"


class Folder:
    """The contracts of one state of the code.

    Args:
        path: of the folder; what the last release had is a folder in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def recorded(self) -> bool:
        """Whether contracts are kept at all; a new project begins without."""
        return bool(self._kept())

    @property
    def released(self) -> Path:
        """Where those of the last release are."""
        return self._path / RELEASED

    def differences(self, contracts: Sequence[Contract]) -> Iterator[str]:
        """Where the files are not what the code sends; says what helps."""
        kept, sent = self._kept(), {each.file: each for each in contracts}
        for file in sorted(kept.keys() | sent.keys()):
            where = f"{self._path}/{file}"
            if file not in kept:
                yield f"{where} is missing: {sent[file].name} has no contract; {_UPDATE}"
            elif file not in sent:
                yield f"{where} is orphaned: no such query is registered; {_UPDATE}"
            elif kept[file] != (text := sent[file].rendered()):
                yield f"{where} is stale; {_UPDATE}:\n{_difference(kept[file], text)}"

    def write(self, contracts: Sequence[Contract]) -> list[str]:
        """Make the files those of these contracts; says what has changed."""
        kept, said = self._kept(), list[str]()
        texts = {each.file: each.rendered() for each in contracts}
        for file in sorted(kept.keys() | texts.keys()):
            place = self._path / file
            if file not in texts:
                place.unlink()
                said.append(f"removed {place}")
            elif kept.get(file) != texts[file]:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(texts[file], encoding="utf-8")
                said.append(f"{'changed' if file in kept else 'recorded'} {place}")
        return said

    def empty(self) -> None:
        """Remove all."""
        shutil.rmtree(self._path, ignore_errors=True)

    def contracts(self) -> list[Contract]:
        """All that are kept.

        Raises:
            ValueError: one of them is no contract.
        """
        return [Contract.model_validate_json(text) for text in self._kept().values()]

    def _kept(self) -> Mapping[str, str]:
        files = (each.relative_to(self._path) for each in sorted(self._path.rglob("*.json")))
        return {
            each.as_posix(): (self._path / each).read_text(encoding="utf-8")
            for each in files
            if each.parts[0] not in {RELEASED, "release.json", *NAMES}
        }


def _difference(kept: str, sent: str) -> str:
    lines = list(
        difflib.unified_diff(
            kept.splitlines(), sent.splitlines(), "recorded", "sent", n=2, lineterm=""
        )
    )
    more = len(lines) - _LONGEST_DIFF
    shown = lines[:_LONGEST_DIFF] + ([f"… and {more} lines more"] if more > 0 else [])
    return "\n".join(shown)
