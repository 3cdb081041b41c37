"""What failures have in common, and whether too many of them are the same one."""

import hashlib
import time
from collections import Counter, deque
from types import TracebackType

from acme_orders.errors import FailingTooOften

_FRAMES = 3  # innermost lines of our own; those of libraries change with their versions
_PACKAGE = __name__.partition(".")[0]


def fingerprint(error: BaseException) -> str:
    """The same for all failures of one kind, at one place in the code; 16 hexadecimal digits."""
    places = [type(error).__qualname__, *list(_places(error.__traceback__))[-_FRAMES:]]
    return hashlib.sha256("\n".join(places).encode()).hexdigest()[:16]


def _places(trace: TracebackType | None) -> "list[str]":
    found = []
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == _PACKAGE:
            found.append(f"{module}.{trace.tb_frame.f_code.co_qualname}")
        trace = trace.tb_next
    return found


class FailureRate:
    """Stops work for a while when most messages fail in one and the same way.

    After a bad deployment, or when something that all of them need is broken, every message would
    climb the retry ladder and end as a dead letter.

    Args:
        limit: share of failures with one fingerprint that is too much.
        window: how many of the last messages are looked at.
        pause: seconds.
    """

    def __init__(self, *, limit: float, window: int, pause: float) -> None:
        self._limit, self._pause = limit, pause
        self._outcomes: deque[str | None] = deque(maxlen=window)
        self._until, self._why = 0.0, ""

    def succeeded(self, messages: int = 1) -> None:
        """So many messages were processed."""
        self._outcomes.extend([None] * messages)

    def failed(self, error: BaseException) -> None:
        """A message failed, for a reason that is not in the message."""
        self._outcomes.append(fingerprint(error))
        if len(self._outcomes) < (self._outcomes.maxlen or 0):
            return
        worst, count = Counter(self._outcomes).most_common(1)[0]
        if worst is not None and count > self._limit * len(self._outcomes):
            self._until = time.monotonic() + self._pause
            self._why = (
                f"{count} of the last {len(self._outcomes)} messages failed alike "
                f"({type(error).__name__}, fingerprint {worst}): waiting {self._pause:g} s"
            )
            self._outcomes.clear()

    def check(self) -> None:
        """Return if work may go on.

        Raises:
            FailingTooOften: not yet.
        """
        if (seconds := self._until - time.monotonic()) > 0:
            raise FailingTooOften(self._why, seconds=seconds)
