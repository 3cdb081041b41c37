"""One place of the project, and what it is changed into."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LONGEST = 90  # characters of what is shown
_AROUND = " \n,;"


@dataclass(frozen=True)
class Edit:
    """A part of a file that is replaced.

    Args:
        file: relative to the project.
        begin: the byte that it begins with.
        end: the byte behind it.
        new: what stands there instead.
    """

    file: Path
    begin: int
    end: int
    new: str = ""


@dataclass(frozen=True)
class Mutant:
    """A change that somebody has to notice.

    Args:
        kind: of what is taken away.
        edits: one, and another where two files have to agree.
        line: of the first.
        what: is taken away, as it was written.
    """

    kind: str
    edits: tuple[Edit, ...]
    line: int
    what: str

    def __str__(self) -> str:
        text = " ".join(self.what.split())
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        others = "".join(f", and in {each.file}" for each in self.edits[1:])
        return f"{self.edits[0].file}:{self.line}  {self.kind}: without {shown}{others}"

    def changed(self, root: Path) -> Mapping[Path, bytes]:
        """The files that are different, with what they are then."""
        texts: dict[Path, bytes] = {}
        for each in sorted(self.edits, key=lambda edit: edit.begin, reverse=True):
            text = texts.get(each.file) or (root / each.file).read_bytes()
            texts[each.file] = text[: each.begin] + each.new.encode() + text[each.end :]
        return texts

    def digest(self, root: Path) -> str:
        """The same as long as neither its files nor the change become others."""
        found = hashlib.sha256(repr(self.edits).encode())
        for each in self.edits:
            found.update((root / each.file).read_bytes())
        return found.hexdigest()


def taken(kind: str, text: str, *edits: Edit) -> Mutant:
    """The mutant that takes a part of `text`, the first edit's file, away."""
    first, data = edits[0], text.encode()
    what = data[first.begin : first.end].decode()
    before = data[: first.begin].decode() + what[: len(what) - len(what.lstrip(_AROUND))]
    return Mutant(kind, edits, before.count("\n") + 1, what.strip(_AROUND))
