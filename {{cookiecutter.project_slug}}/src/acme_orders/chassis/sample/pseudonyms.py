"""Values that stand for others: the same for the same, and never the same for two."""

import hmac
import ipaddress
import random
import string
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta

_ATTEMPTS = 1000  # of a value that is new; so many short ones there may not be
_LETTERS = string.ascii_lowercase
_SYLLABLES = ("ba", "de", "fi", "ko", "lu", "ma", "ne", "ri", "so", "tu")
_FIRST_DAY, _DAYS = date(1950, 1, 1), 25_000
_LONGEST = 400  # characters of a text that is replaced as a whole


class Pseudonyms:
    """Made with a secret: without it nobody can try out whom one stands for.

    They have the form of what they stand for: letters for letters and digits for digits, so that
    lengths, patterns and emails stay what they were.

    Args:
        seed: the secret; the same one makes the same pseudonyms.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._made, self._used = dict[tuple[str, str], str](), set[tuple[str, str]]()
        self.generated = set[str]()

    def text(self, value: str) -> str:
        """For a name, an email, a number of a phone: the same for large and small letters."""
        form = "".join(map(_kind, value))
        found = self._new("text", unicodedata.normalize("NFC", value).casefold(), value, _like)
        cased = "".join(
            made.upper() if kind == "A" else made for kind, made in zip(form, found, strict=False)
        )
        return self._known(cased)

    def prose(self, value: str) -> str:
        """For a text that somebody wrote: others instead of it, of about the same length."""
        return self._known(self._new("prose", value, value, _syllables))

    def number(self, value: str) -> str:
        """For digits, perhaps with a sign and a point; within what its type can hold."""
        return self._known(self._new("number", value, value, _digits))

    def day(self, value: str) -> str:
        """For a date as ISO 8601 writes it; a time after it is left out."""
        return self._known(self._new("day", value[:10], value, _day) + value[10:])

    def identity(self, value: str) -> str:
        """For a UUID."""
        return self._known(self._new("uuid", value, value, _uuid))

    def address(self, value: str) -> str:
        """For one in a network: another in a private one."""
        return self._known(self._new("address", value, value, _address))

    def content(self, value: bytes) -> bytes:
        """For bytes that are no text: as many others."""
        made = self._random("bytes", value.hex(), 0).randbytes(min(len(value), _LONGEST))
        self.generated.add("\\x" + made.hex())
        return made

    def _known(self, made: str) -> str:
        self.generated.add(made)
        return made

    def _new(
        self, kind: str, key: str, value: str, make: Callable[[random.Random, str], str]
    ) -> str:
        """One that stands for nothing else, as long as there are such ones."""
        if (kind, key) not in self._made:
            made = value
            for attempt in range(_ATTEMPTS):
                made = make(self._random(kind, key, attempt), value)
                if (kind, made) not in self._used and made.casefold() != value.casefold():
                    break
            self._used.add((kind, made))
            self._made[kind, key] = made
        return self._made[kind, key]

    def _random(self, kind: str, key: str, attempt: int) -> random.Random:
        text = f"{kind}\n{attempt}\n{key}".encode("utf-8", "surrogatepass")
        return random.Random(hmac.digest(self._seed, text, "sha256"))  # noqa: S311  # it is keyed


def _kind(character: str) -> str:
    if character.isdigit():
        return "0"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character


def _like(lot: random.Random, value: str) -> str:
    return "".join(
        lot.choice(string.digits) if kind == "0" else lot.choice(_LETTERS) if kind in "aA" else kind
        for kind in map(_kind, value)
    )


def _syllables(lot: random.Random, value: str) -> str:
    length, text = min(len(value), _LONGEST), ""
    while len(text) < length:
        text += "".join(lot.choice(_SYLLABLES) for _ in range(lot.randint(1, 4))) + " "
    text = text[:length]
    return text[:-1] + "a" if text.endswith(" ") else text


def _digits(lot: random.Random, value: str) -> str:
    digits = [str(lot.randrange(10)) if each.isdigit() else each for each in value]
    first = next((at for at, each in enumerate(value) if each.isdigit()), None)
    whole = value.lstrip("-").partition(".")[0]
    if first is not None and len(whole) > 1 and whole.isdigit():
        digits[first] = "1"
    return "".join(digits)


def _day(lot: random.Random, value: str) -> str:  # noqa: ARG001
    return (_FIRST_DAY + timedelta(days=lot.randrange(_DAYS))).isoformat()


def _uuid(lot: random.Random, value: str) -> str:  # noqa: ARG001
    text = lot.randbytes(16).hex()
    return "-".join((text[:8], text[8:12], "4" + text[13:16], "8" + text[17:20], text[20:]))


def _address(lot: random.Random, value: str) -> str:
    network = ipaddress.ip_address("fd00::" if ":" in value else "10.0.0.0")
    return str(network + lot.randrange(2**24))
