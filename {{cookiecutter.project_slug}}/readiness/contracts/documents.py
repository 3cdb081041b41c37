"""The document of messages in `contracts/`, and what others rely on in it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError

from readiness.contracts.narrowing import Tree, narrowing

NAME = "asyncapi.json"
AGREED = "agreed.txt"
_RELEASED = "released"
_LINE = re.compile(r"(?P<what>\S.*?) +\((?P<why>.*\S.*)\)")
_HELP = (
    "give what is new a name of its own (an optional field, or another type of messages), and let "
    "the old one go when nobody uses it. Once all agree, a line in {0} lets it pass: `{1} (why)`"
)
Document = Mapping[str, Any]


class KeptDocument:
    """The document in `contracts/`.

    Args:
        folder: of it; that of the last release is in `released/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / NAME

    def write(self, document: Document) -> Iterator[str]:
        """Make the file this document, and say so if it has changed."""
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if not self._file.exists() or self._file.read_text("utf-8") != text:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file.write_text(text, encoding="utf-8")
            yield f"written {self._file}"

    def release(self, document: Document) -> None:
        """Keep this as what others rely on; what was agreed on is done with."""
        list(KeptDocument(self._folder / _RELEASED).write(document))
        (self._folder / AGREED).unlink(missing_ok=True)

    def findings(self, document: Document) -> Iterator[str]:
        """What is stale, and what breaks others. A project that has recorded nothing has none."""
        if self._file.exists() and _compared(_read(self._file)) != _compared(document):
            yield f"{self._file} is not what the code says: `make contracts-update` writes it"
        yield from self._broken(document)

    def _broken(self, document: Document) -> Iterator[str]:
        agreed, used = self._agreed(), set[str]()
        released = self._folder / _RELEASED / NAME
        for what, why in broken(_read(released), document) if released.exists() else ():
            used.add(what)
            if what not in agreed:
                helps = _HELP.format(self._folder / AGREED, what)
                yield f"{what}: {why}, and the last release had it otherwise: {helps}"
        for what in sorted(agreed - used):
            yield f"{self._folder / AGREED}: {what!r} is no longer a difference: take the line out"

    def _agreed(self) -> set[str]:
        file = self._folder / AGREED
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        found = set()
        for number, line in enumerate(map(str.strip, lines), 1):
            if line and not line.startswith("#"):
                if not (match := _LINE.fullmatch(line)):
                    raise ConfigurationError(
                        f"{file}:{number}: write what is broken, and why that is right: `published "
                        "parcel.sent: weight (nobody reads it, asked on 1 May)`"
                    )
                found.add(match["what"])
        return found


def broken(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What those who rely on the old document would miss or send in vain.

    What is accepted may be widened. What is published stays as it is; fields may be added.
    """
    before, after = _forms(old), _forms(new)
    for (side, name), schema in before.items():
        what = f"{side} {name}"
        if (side, name) not in after:
            yield what, "is gone"
            continue
        here, there = Tree(schema, old), Tree(after[side, name], new)
        found = dict(narrowing(here, there))
        if side == "published":
            found = {place: why for place, why in found.items() if why != "is required"}
            for place, why in narrowing(there, here):
                if why == "is required":
                    found.setdefault(place, "is not always there")
                elif why != "is gone":  # a field that was added
                    found.setdefault(place, f"may be what it never was: to the old form, {why}")
        for place, why in found.items():
            yield f"{what}: {place or 'the whole'}", why


def _forms(document: Mapping[str, Any]) -> Mapping[tuple[str, str], Any]:
    """The schema of each message that is accepted or published, by its type."""
    messages = document.get("components", {}).get("messages", {})
    return {
        (key.partition(".")[0], message["name"]): message["payload"]
        for key, message in messages.items()
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file} is no JSON ({error}): restore it from git") from None
    return document


def _compared(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without the version, which changes with each release and is known when it is installed."""
    return {**document, "info": {**document["info"], "version": ""}}
