"""A JSON text before it is parsed: what that would cost, and whether PostgreSQL can store it."""

import json
import re
from typing import Any

from pydantic_core import from_json

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.storable import flaw

Tries = tuple[int, int]  # of each object within an object, and of each array within an array

ONCE: Tries = (1, 1)
_FEW = 1000  # values that nobody has to count
_MOST_TRIES = 25_000  # in some 50 ms
_TOKEN = re.compile(rb'"[^"]*"?|[][{},]')  # of a text without escapes
ESCAPED_NUL = rb"\u0000"
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")  # a backslash before it would make it a text


def inspect(text: bytes, *, most: int, tries: Tries = ONCE, nested: bool = False) -> None:
    """Refuse a text that would cost too much, or that has a NUL.

    Args:
        text: that is meant to be JSON.
        most: objects, arrays and members of them, together; a thousand cost nothing.
        tries: how often what is in it is validated at worst; see `schema_tree.tries`.
        nested: whether texts in it are JSON as well.

    Raises:
        Malformed: it is of that kind.
    """
    most = max(_FEW, most)
    if len(text) > most and _values(text, most, nested=nested) > most:
        said = f"more than {most} values: send them in several messages"
        raise Malformed(said, kind="too many values")
    if tries != ONCE and _counted(text, _MOST_TRIES, tries) > _MOST_TRIES:
        raise Malformed(
            "nested too deep for a form that is found by trying: "
            "give the union of the forms a discriminator",
            kind="nested too deep",
        )
    if ESCAPED_NUL in text and _NUL.search(text):
        raise _refused(text, "a text has \\u0000, which PostgreSQL cannot store")


def parse(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Malformed: it is no JSON, or nested too deep, or has NaN or half of a surrogate pair.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise _refused(text, f"no JSON: {error}") from None


def _values(text: bytes, most: int, *, nested: bool) -> int:
    # What is inside of texts counts too: that is quick, and seldom too much.
    signs = (b",", b"[", b"{", b"\\u") if nested else (b",", b"[", b"{")
    values = sum(map(text.count, signs))
    return values if values <= most or nested else _counted(text, most, ONCE)


def _counted(text: bytes, most: int, tries: Tries) -> int:
    """Values outside of texts, each as often as it is validated; no further than `most`."""
    values, weight = 0, 1
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    for number, token in enumerate(_TOKEN.finditer(plain)):
        match token[0]:
            case b"{":
                values, weight = values + weight, weight * tries[0]
            case b"[":
                values, weight = values + weight, weight * tries[1]
            case b"}":
                weight = max(1, weight // tries[0])
            case b"]":
                weight = max(1, weight // tries[1])
            case b",":
                values += weight
        if max(values, number // 3) > most:
            return most + 1
    return values


def _refused(text: bytes, otherwise: str) -> Malformed:
    """What cannot be stored and where, if that is what is wrong."""
    try:
        found = flaw(json.loads(text))
    except (ValueError, RecursionError):
        return Malformed(otherwise, kind="nested too deep")
    if found is None:
        return Malformed(otherwise, kind="nul")
    return Malformed(places=[(found[0] or "the body", found[1])], kind=found[1])
