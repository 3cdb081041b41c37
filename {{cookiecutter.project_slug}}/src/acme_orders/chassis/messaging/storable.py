"""What PostgreSQL can store and Python can read again; anything else is refused at the edge.

Each check gives the value back, as validators of Pydantic do, or raises a PydanticCustomError.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticCustomError

LARGEST_INTEGER = 2**63 - 1  # of a bigint
_LARGEST_OFFSET = timedelta(hours=15, minutes=59, seconds=59)
_DIGITS = 131_072  # of a numeric before its decimal point
_DECIMALS = 16_383  # and after it
_NUL = "a text with NUL (\\u0000), which PostgreSQL cannot store"
_SURROGATE = "a text with half of a surrogate pair, which is no Unicode"
_NOT_FINITE = "a number that is infinite or none, which JSON has no form for"


def moment(value: datetime) -> datetime:
    """A time with an offset that PostgreSQL reads, and that has a form in UTC."""
    if offset := value.utcoffset():
        if abs(offset) > _LARGEST_OFFSET:
            raise _refused("the offset of a time is at most 15:59")
        try:
            value.astimezone(UTC)
        except OverflowError:
            raise _refused("a time is in the years 1 to 9999, in UTC too") from None
    return value


def numeric(value: Decimal) -> Decimal:
    """A number with as many digits as a numeric can have."""
    if value.is_finite():
        exponent = value.as_tuple().exponent
        if value.adjusted() >= _DIGITS or (isinstance(exponent, int) and -exponent > _DECIMALS):
            raise _refused(f"a number has at most {_DIGITS} digits, and {_DECIMALS} decimals")
    return value


def text(value: Any) -> Any:
    """What a validator made, if it is a text, without NUL."""
    if isinstance(value, str) and "\x00" in value:
        raise _refused(_NUL)
    return value


def document(value: Any) -> Any:
    """Anything that JSON has, as far as jsonb has it too."""
    if found := flaw(value):
        place, why = found
        raise _refused(f"{place} is {why}" if place else why)
    return value


def extras(value: Any) -> Any:
    """An object whose fields nobody has described all."""
    extra = getattr(value, "__pydantic_extra__", None)
    document(value if isinstance(value, dict) else extra or vars(value))
    return value


def flaw(value: Any) -> tuple[str, str] | None:
    """Where in a JSON value something is that cannot be stored, such as `lines.0.sku`, and why."""
    waiting: list[tuple[Any, Any]] = [(None, value)]
    while waiting:
        place, each = waiting.pop()
        if isinstance(each, str):
            if why := _unfit(each):
                return _told(place), why
        elif isinstance(each, float):
            if not math.isfinite(each):
                return _told(place), _NOT_FINITE
        elif isinstance(each, Mapping):
            for key, inner in each.items():
                if isinstance(key, str) and (why := _unfit(key)):
                    return _told(place), f"an object whose key is {why}"
                waiting.append(((place, key), inner))
        elif isinstance(each, list | tuple | set | frozenset):
            waiting.extend(((place, index), inner) for index, inner in enumerate(each))
    return None


def _unfit(value: str) -> str | None:
    if "\x00" in value:
        return _NUL
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return _SURROGATE
    return None


def _told(place: Any) -> str:
    return ".".join(reversed([*map(_shortened, _names(place))]))


def _names(place: Any) -> Iterator[Any]:
    while place:
        place, name = place
        yield name


def _shortened(name: Any) -> str:
    return str(name)[:100].encode(errors="replace").decode()


def _refused(why: str) -> PydanticCustomError:
    return PydanticCustomError("not_storable", "{why}", {"why": why})
