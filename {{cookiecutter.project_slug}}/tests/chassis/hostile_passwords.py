"""Passwords with everything that means something in an address, a log record or a shell."""

import random
from string import hexdigits
from urllib.parse import quote

_RANDOM = random.Random(7)
# Letters and digits that no text of ours has in this order, so that a part is found when it leaks.
_LETTERS = "GHJKQVXZghjkqvxz23456789"
_SPECIAL = "%/@#?:&=+;,[]{}()<>|\\^`'\"!$*~-_. \t\näßж日😀\u00a0\u0301"
_CHOSEN = (
    "Qz%41kVx7",  # looks percent-encoded
    "Qz%kVx7gh",  # and this is no encoding
    "kq2F%2fZxv",
    "zqX@h7kv@Jq",
    "Vk:7zq@hQst:54z2/Xq",
    "zx/../Qk7v",
    "Kq7?sslmode=Xzv",
    "Gk#7zqXv",
    "[::7]Qk7zxv",
    "gq7'; DROP--Kzx",
    '{"Kq": "zx7v"}',
    "${Kq7zXv}",
    "$(Gq7zxKv)",
    "\x1b[31mQk7zxv",
    "Kq7zxv\nHQST=Zq7",
    "=Gq7zxvK",
    " Gq7zxvKj ",
    "jq7zxv" * 40,
    "%%%%Kq7z%%%%",
    "ZqKv\\\\x7zg\\",
)


def _made(number: int) -> str:
    """A few random letters with special characters between them."""
    parts = ["".join(_RANDOM.choices(_LETTERS, k=3)) for _ in range(3)]
    between = [_SPECIAL[number % len(_SPECIAL)], _RANDOM.choice(_SPECIAL)]
    return f"{parts[0]}{between[0]}{parts[1]}{between[1]}{parts[2]}"


PASSWORDS = (*_CHOSEN, *(_made(number) for number in range(45)))


def leaks(password: str, text: str) -> list[str]:
    """Parts of a password, of four characters and more, that stand in a text."""
    spelled = {password, quote(password, safe=""), quote(password, safe="").lower()}
    parts = {each[start : start + 4] for each in spelled for start in range(len(each) - 3)}
    parts = {part for part in parts if not {*part} <= {*hexdigits}}  # times have `2157` by chance
    # A part without letters is no part of a secret: `%2F%` stands in every manual.
    return sorted(part for part in parts if part in text and any(map(str.isalnum, part)))
