"""Finds in a written sample what stands in a classified column of the database."""

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_plus

from acme_orders.chassis.erasure.shapes import SHORTEST
from acme_orders.chassis.sample.masking import DAY, UUID, parsed

_DEEP = 3  # encodings around each other
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_ESCAPED = re.compile(r'\\+(?:u([0-9a-fA-F]{4})|([0-7]{3})|(["\'/\\%_@.]))')
_INSIDE = "\0"  # begins what was encoded with something before and after it
_FEW_DIGITS = 7  # fewer may be anything


class Leaks:
    """The values of a sample, as they are and decoded.

    Args:
        generated: values that were made instead of others.
    """

    def __init__(self, generated: Collection[str]) -> None:
        self._generated = generated
        self._places = dict[str, dict[str, None]]()  # texts by the column that they are found in
        self._parts = set[str]()

    def read(self, line: str) -> None:
        """A line of the sample."""
        row = json.loads(line)
        for column, value in row.get("row", {}).items():
            texts = self._places.setdefault(f"{row['table']}.{column}", {})
            for leaf in leaves(value):
                if leaf in self._generated:
                    continue
                for text in decoded(leaf):
                    if len(text) >= SHORTEST and text not in texts:
                        texts[text] = None
                        ends = range(len(text) - SHORTEST + 1)
                        self._parts.update(text[at : at + SHORTEST] for at in ends)

    def find(self, value: Any, *, free: bool) -> str | None:
        """The column of the sample in which something of an original value stands.

        Args:
            value: of a classified column.
            free: it is free text, of which only that counts which may tell of a person.
        """
        for leaf in leaves(value):
            if (told := _telling(leaf, free=free)) and self._may_have(told):
                found = re.compile(rf"(?<![^\W_]){re.escape(told)}(?![^\W_])")
                for place, texts in self._places.items():
                    if any(
                        found.search(text) or (text[0] == _INSIDE and told in text)
                        for text in texts
                    ):
                        return place
        return None

    def _may_have(self, text: str) -> bool:
        ends = range(len(text) - SHORTEST + 1)
        return all(text[at : at + SHORTEST] in self._parts for at in ends)


def leaves(value: Any) -> Iterator[str]:
    """All texts and numbers of a value, of the documents in it too, and the names in these."""
    match value:
        case dict():
            yield from map(str, value)
            for each in value.values():
                yield from leaves(each)
        case list():
            for each in value:
                yield from leaves(each)
        case bool() | None:
            return
        case str():
            text = value
            if text.startswith("\\x"):
                try:
                    text = bytes.fromhex(text[2:]).decode("utf-8", "replace")
                except ValueError:
                    text = value
                yield value
            document = parsed(text)
            if document is None:
                yield text
            else:
                yield from leaves(document)
        case _:
            yield str(value)


def decoded(text: str) -> Iterable[str]:
    """A text as it is, and as what it may be the encoding of; in small letters."""
    found, last = {text: None}, [text]
    for _ in range(_DEEP):
        last = [each for one in last for each in _once(one) if each not in found]
        found |= dict.fromkeys(last)
    return dict.fromkeys(map(_plain, found))


def _once(text: str) -> Iterator[str]:
    if "%" in text or "+" in text:
        yield unquote_plus(text)
    if "&" in text:
        yield html.unescape(text)
    if "\\" in text:
        yield (
            _ESCAPED.sub(_character, text)
            .encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
        )
    if '""' in text:
        yield text.replace('""', '"')
    for each in _BASE64.findall(text):
        content = each[: -1 if len(each) % 4 == 1 else None].replace("-", "+").replace("_", "/")
        try:
            said = base64.b64decode(content + "=" * (-len(content) % 4))
        except binascii.Error:
            continue
        yield _INSIDE + said.decode("utf-8", "ignore")


def _character(found: re.Match[str]) -> str:
    if found[1] or found[2]:
        return chr(int(found[1], 16) if found[1] else int(found[2], 8))
    return found[3]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _telling(text: str, *, free: bool) -> str:
    """What is looked for; nothing if it stands everywhere by chance, or may stay."""
    if UUID.fullmatch(text) and free:
        return ""
    digits = sum(map(str.isdigit, text))
    spoken = "@" in text or any(map(str.isspace, text)) or digits >= SHORTEST
    if len(text) < SHORTEST or DAY.fullmatch(text) or (free and not spoken):
        return ""
    if re.fullmatch(r"[-\d.]+", text) and digits < _FEW_DIGITS:
        return ""
    return _plain(text)
