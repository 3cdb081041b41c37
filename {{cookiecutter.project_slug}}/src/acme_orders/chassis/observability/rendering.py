"""Values of log records as they can be shown: bounded, printable and without secrets."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from structlog.typing import EventDict

_LONGEST = 16_384  # characters of a text; a traceback has about 5,000
_READ = 1024 * 1024  # characters that are looked at; nobody needs more, and it takes time
_MOST = 64  # entries of a record or of a collection
_DEEPEST = 4  # collections inside collections
_LARGEST = 2**63  # JSON readers have no larger integers
_MULTILINE = frozenset({"exception", "stack"})
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Presentable:
    """A structlog processor after which any renderer succeeds.

    Args:
        redact: takes secrets out of a text.
        terminal: whether people see it as it is: then nothing may move their cursor, or look like
            another record.
    """

    def __init__(self, redact: Callable[[str], str], *, terminal: bool) -> None:
        self._redact, self._terminal = redact, terminal

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        """The same record with values that can be shown."""
        return {
            self._name(name): self._value(value, lines=name in _MULTILINE)
            for name, value in islice(event.items(), _MOST)
        }

    def _name(self, name: str) -> str:
        return name if name.isidentifier() else self._text(name)

    def _value(self, value: Any, *, depth: int = 0, lines: bool = False) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, lines=lines)
        if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if depth < _DEEPEST and isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._collection(value, depth)
        return self._text(_shown(value))

    def _collection(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {
                self._text(_shown(name)): self._value(each, depth=depth + 1)
                for name, each in islice(value.items(), _MOST)
            }
        return [self._value(each, depth=depth + 1) for each in _first(value)]

    def _text(self, text: str, *, lines: bool = False) -> str:
        text = self._redact(text[:_READ])
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
        if not text.isascii():
            text = _SURROGATE.sub("\ufffd", text)
        if self._terminal and not text.isprintable():
            kept = "\n\t" if lines else ""
            text = "".join(
                each if each.isprintable() or each in kept else repr(each)[1:-1] for each in text
            )
        return text


def _first(values: Iterable[Any]) -> Iterable[Any]:
    return islice(values, _MOST)


def _shown(value: Any) -> str:
    """Its repr, whatever that does."""
    if isinstance(value, str):
        return value
    try:
        return repr(value[:_LONGEST] if isinstance(value, bytes | bytearray) else value)
    except Exception:
        return f"<a {type(value).__name__} that cannot be shown>"
