"""In which shapes a value may stand in a text: as it is, or as somebody has encoded it."""

import base64
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator

SHORTEST = 5  # characters; less would be found in what belongs to others
_ENCODED = 8  # bytes; in base64 less could be chance
# A value begins where no word goes on; what was encoded before it ends with a letter or a digit.
_ESCAPES = r"\\[bfnrt]|\\u[[:xdigit:]]{4}|\\[0-7]{3}|%[[:xdigit:]]{2}"
_BEGINS = r"(?:^|[^[:alnum:]SIGNS]|(?:^|[^[:alnum:]])[SIGNS]+|" + _ESCAPES + ")"
_ENDS = r"(?:$|[^[:alnum:].]|[.]+(?:$|[^[:alnum:]]))"


def pattern(values: Iterable[str], *, whole: bool) -> str:
    """A regular expression of PostgreSQL that finds these values, without regard to case.

    It finds them in JSON, also as a text in JSON, in links, forms, HTML, CSV, base64, and in bytes
    as `encode(…, 'escape')` writes these.

    Args:
        values: each has SHORTEST characters at least.
        whole: `mary-ann@…` is somebody else than `ann@…`; otherwise `buyer-ann@…` may be a key
            with her name. `mary.ann@…` is always somebody else.
    """
    values = sorted(values)
    named = "|".join(
        "".join(map(_character, text))
        for value in values
        for text in dict.fromkeys(unicodedata.normalize(form, value) for form in ("NFC", "NFD"))
    )
    begins = _BEGINS.replace("SIGNS", "._+-" if whole else ".")
    encoded = sorted({re.escape(each) for value in values for each in _base64(value)})
    return "|".join([f"{begins}(?:{named}){_ENDS}", *encoded])


def _character(character: str) -> str:
    """One character, however it is encoded, and however often."""
    if character.isascii() and character.isalnum():
        return character
    cases = dict.fromkeys((character, character.lower(), character.upper()))
    found = [shape for each in cases for shape in _encoded(each)]
    if character.isascii():
        found.append(rf"(?:\\*\{character})+")
        found.append(re.escape(html.escape(character)))
        found += [r"\+"] if character == " " else []
    else:
        found += cases
    return f"(?:{'|'.join(found)})"


def _encoded(text: str) -> Iterator[str]:
    """Mostly one character; some have two in capitals."""
    utf_8, utf_16 = text.encode("utf-8", "replace"), text.encode("utf-16-be", "replace")
    yield "".join(rf"\\+u{utf_16[at : at + 2].hex()}" for at in range(0, len(utf_16), 2))
    yield "".join(f"%(?:25)*{each:02x}" for each in utf_8)
    yield "".join(rf"\\+{each:03o}" for each in utf_8)
    yield "".join(f"&#(?:{ord(each)}|x0*{ord(each):x});" for each in text)


def _base64(value: str) -> Iterator[str]:
    """What is the same, whatever stands before and after it."""
    content = value.encode("utf-8", "replace")
    if len(content) < _ENCODED:
        return
    for before in range(3):
        text = base64.b64encode(b"\0" * before + content).decode()
        inner = text[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        yield from dict.fromkeys((inner, inner.replace("+", "-").replace("/", "_")))
