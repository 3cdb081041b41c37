"""Takes what is secret out of texts that others wrote."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4  # characters; shorter ones stand in every text


class Redactor:
    """Replaces secrets in a text, however they are written.

    Args:
        secrets: passwords; those that are too short to be told from other words are left alone.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        forms = sorted({form for each in known for form in _forms(each)}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _forms(secret: str) -> set[str]:
    """As it is, and as it stands in addresses, in JSON and in the repr of a text."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {re.sub(r"%..", lambda found: found[0].lower(), each) for each in encoded}
    quoted = {json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)}
    return {secret, *encoded, *lower, *(each[1:-1] for each in quoted)}
