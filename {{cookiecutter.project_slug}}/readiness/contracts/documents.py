"""The documents of messages and routes in `contracts/`, and what others rely on in them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.described import messages_of
from acme_orders.chassis.slice import Definition

from readiness.contracts.narrowing import Tree, narrowing

MESSAGES, ROUTES = "asyncapi.json", "openapi.json"
NAMES = frozenset({MESSAGES, ROUTES})
AGREED = "agreed.txt"
_RELEASED = "released"
_LINE = re.compile(r"(?P<what>\S.*?) +\((?P<why>.*\S.*)\)")
_HELP = (
    "give what is new a name of its own (an optional field, or another type of messages), and let "
    "the old one go when nobody uses it. Once all agree, a line in {0} lets it pass: `{1} (why)`"
)
Documents = Mapping[str, dict[str, Any]]


def documents_of(definition: Definition[Any]) -> Documents:
    """Each document by the name of its file.

    Raises:
        ConfigurationError: the slices do not go together.
    """
    return {
        MESSAGES: messages_of(definition),
    }


class Kept:
    """The documents in `contracts/`.

    Args:
        folder: of them; those of the last release are in `released/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._released = folder / _RELEASED

    def write(self, documents: Documents) -> Iterator[str]:
        """Make the files these documents, and say which have changed."""
        for name in sorted(NAMES):
            file = self._folder / name
            text = _as_text(documents[name]) if name in documents else None
            if text is None:
                file.unlink(missing_ok=True)
            elif not file.exists() or file.read_text("utf-8") != text:
                self._folder.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                yield f"written {file}"

    def release(self, documents: Documents) -> None:
        """Keep these as what others rely on; what was agreed on is done with."""
        list(Kept(self._released).write(documents))
        (self._folder / AGREED).unlink(missing_ok=True)

    def findings(self, documents: Documents) -> Iterator[str]:
        """What is stale, and what breaks others. A project that has recorded nothing has none."""
        if any((self._folder / name).exists() for name in NAMES):
            yield from self._stale(documents)
        yield from self._broken(documents)

    def _stale(self, documents: Documents) -> Iterator[str]:
        for name, document in documents.items():
            file = self._folder / name
            if not file.exists() or _compared(_read(file)) != _compared(document):
                yield f"{file} is not what the code says: `make contracts-update` writes it"

    def _broken(self, documents: Documents) -> Iterator[str]:
        agreed, used = self._agreed(), set[str]()
        for name, document in documents.items():
            if not (file := self._released / name).exists():
                continue
            for what, why in broken(_read(file), document):
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
    """The schema of each thing that is accepted or published, by its name."""
    found: dict[tuple[str, str], Any] = {}
    for key, message in document.get("components", {}).get("messages", {}).items():
        found[key.partition(".")[0], message["name"]] = message["payload"]
    for path, methods in document.get("paths", {}).items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            found["accepted", f"{name} (parameters)"] = _parameters(operation)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                found["accepted", name] = content["schema"]
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    if status.startswith("2"):
                        found["published", f"{name} {status}"] = content.get("schema", {})
    return found


def _parameters(operation: Mapping[str, Any]) -> dict[str, Any]:
    given = operation.get("parameters", ())
    return {
        "type": "object",
        "properties": {f"{each['in']} {each['name']}": each["schema"] for each in given},
        "required": [f"{each['in']} {each['name']}" for each in given if each.get("required")],
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file} is no JSON ({error}): restore it from git") from None
    return document


def _as_text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _compared(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without the version, which changes with each release and is known when it is installed."""
    return {**document, "info": {**document["info"], "version": ""}}
