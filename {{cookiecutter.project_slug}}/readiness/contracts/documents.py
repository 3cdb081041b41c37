"""The documents in `contracts/`, and what others rely on in them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described import messages_of
from acme_orders.chassis.process.described_routes import routes_of  # feature: http_api
from acme_orders.chassis.slice import Definition

from readiness.contracts.messages import broken_messages
from readiness.contracts.routes import broken_routes  # feature: http_api

AGREED = "agreed.txt"
_RELEASED = "released"
_LINE = re.compile(r"(?P<what>\S.*?) +\((?P<why>.*\S.*)\)")
_HELP = (
    "give what is new a name of its own beside the old one, which can go when nobody uses it. Once "
    "all agree, a line in {0} lets it pass: `{1} (why)`"
)
Document = Mapping[str, Any]
Documents = Mapping[str, Document]  # by the names of their files
_BROKEN: Mapping[str, Callable[[Document, Document], Iterator[tuple[str, str]]]] = {
    "asyncapi.json": broken_messages,
    "openapi.json": broken_routes,  # feature: http_api
}
NAMES = frozenset(_BROKEN)


def documents_of(definition: Definition[Any]) -> Documents:
    """What a service says now; raises ConfigurationError."""
    return {
        "asyncapi.json": messages_of(definition),
        "openapi.json": routes_of(definition),  # feature: http_api
    }


class KeptDocuments:
    """The documents in `contracts/`.

    Args:
        folder: of them; those of the last release are in `released/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, documents: Documents) -> Iterator[str]:
        """Make the files these documents, and name those that have changed."""
        for name, document in documents.items():
            file, text = self._folder / name, f"{_text(document)}\n"
            if not file.exists() or file.read_text("utf-8") != text:
                self._folder.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                yield f"written {file}"

    def release(self, documents: Documents) -> None:
        """Keep these as what others rely on; what was agreed on is done with."""
        list(KeptDocuments(self._folder / _RELEASED).write(documents))
        (self._folder / AGREED).unlink(missing_ok=True)

    def findings(self, documents: Documents) -> Iterator[str]:
        """What is stale, and what breaks others. A project that has recorded nothing has none."""
        files = {self._folder / name: document for name, document in documents.items()}
        recorded = any(file.exists() for file in files)
        for file, document in files.items() if recorded else ():
            if not file.exists():
                yield f"{file} is missing: `make contracts-update` writes it"
            elif _compared(_read(file)) != _compared(document):
                yield f"{file} is not what the code says: `make contracts-update` writes it"
        yield from self._broken(documents)

    def _broken(self, documents: Documents) -> Iterator[str]:
        agreed, used = self._agreed(), set[str]()
        for name, document in documents.items():
            released = self._folder / _RELEASED / name
            for what, why in _BROKEN[name](_read(released), document) if released.exists() else ():
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


def _read(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file} is no JSON ({error}): restore it from git") from None
    return document


def _text(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _compared(document: Document) -> dict[str, Any]:
    """Without the version, which changes with each release and is known when it is installed."""
    return {**document, "info": {**document["info"], "version": ""}}
