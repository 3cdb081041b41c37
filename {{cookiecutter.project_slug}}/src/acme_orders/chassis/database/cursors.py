"""Where a page ended, as one text that clients hand back to get the next one.

It has the values that the list is sorted by, as PostgreSQL writes them, and a digest of them and of
the order. The digest is no secret and protects none: whoever makes up a place sees what is behind
it, and could have come there page by page. It tells apart what another list, another order or half
of a link has given.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from acme_orders.chassis.errors import BadCursor, QueryRefused

Kind = TypeVar("Kind")
LONGEST = 4096  # characters: a link has room for it
_DIGEST = 8  # bytes
_END = "\0"  # PostgreSQL has it in no text
_TEXT = "="


class Page(list[Kind]):
    """Rows of a list, and where the next ones begin.

    Args:
        rows: of this page.
        next_: their cursor; None: these are the last.
    """

    def __init__(self, rows: Iterable[Kind] = (), next_: str | None = None) -> None:
        super().__init__(rows)
        self.next = next_


class Cursors:
    """Those of one list.

    Args:
        order: a text that only this list has, sorted as it is.
        query: its name, for errors.
        terms: how many values it is sorted by.
    """

    def __init__(self, order: str, *, query: str, terms: int) -> None:
        self._order, self._query, self._terms = order.encode(), query, terms

    def write(self, place: Sequence[str | None]) -> str:
        """The cursor of a row.

        Raises:
            QueryRefused: it would be longer than a client may send.
        """
        told = _END.join("" if each is None else _TEXT + each for each in place).encode()
        cursor = base64.urlsafe_b64encode(self._digest(told) + told).decode().rstrip("=")
        if len(cursor) > LONGEST:
            raise QueryRefused(
                f"{self._query} is sorted by values so long that its cursor has more than "
                f"{LONGEST} characters: sort by shorter columns"
            )
        return cursor

    def read(self, cursor: str) -> list[str | None]:
        """The values in the order, of the last row before the page.

        Raises:
            BadCursor: this list has not given it.
        """
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            found = base64.b64decode(padded, altchars=b"-_", validate=True)
            digest, told = found[:_DIGEST], found[_DIGEST:]
            places = told.decode().split(_END)
        except ValueError as error:
            raise BadCursor from error
        marked = all(each[:1] in {"", _TEXT} for each in places)
        if digest != self._digest(told) or len(places) != self._terms or not marked:
            raise BadCursor
        return [each[1:] if each else None for each in places]

    def _digest(self, told: bytes) -> bytes:
        return hashlib.sha256(self._order + _END.encode() + told).digest()[:_DIGEST]
