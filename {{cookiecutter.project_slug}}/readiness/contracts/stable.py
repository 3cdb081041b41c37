"""Values of examples in a form that is the same in each run."""

import re
from datetime import UTC, datetime, timedelta

from acme_orders.chassis.identifiers import UUID_TEXT

_TIME = "2026-01-01 00:00:00+00"
_RECENT = timedelta(days=1)
_VARYING = re.compile(
    rf"({UUID_TEXT.pattern}"
    r"|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?"
    r"|\d+(?:\.\d+)?)",
    re.IGNORECASE,
)


class Stable:
    """Replaces ids, times and numbers that a query makes itself; an id by the same one each time.

    It is for the queries of one repository, which may hand such ids to each other.
    """

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def text(self, first: str | None, second: str | None) -> tuple[str | None, bool]:
        """What stands for a value that was `first` in one run and `second` in another.

        Returns:
            The text, and whether it says the same; if not, the statement can only be prepared.
        """
        if first is None or second is None:
            return None, first == second
        one, other = _VARYING.split(first), _VARYING.split(second)
        if len(one) != len(other) or one[::2] != other[::2]:  # what is between the parts that vary
            return None, False
        return "".join(map(self._part, one, other)), True

    def _part(self, first: str, second: str) -> str:
        if known := self._ids.get(first):
            return known
        if first == second and not _is_recent(first):
            return first
        if UUID_TEXT.fullmatch(first):
            return self._ids.setdefault(first, f"00000000-0000-7000-8000-{len(self._ids) + 1:012}")
        if "-" in first:
            return _TIME if ":" in first else _TIME.partition(" ")[0]
        return "1"


def _is_recent(text: str) -> bool:
    """Whether it is a time that a clock told: an example that calls one does it at import."""
    if "." not in text or "-" not in text:
        return False
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return False
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return abs(datetime.now(UTC) - told) < _RECENT
