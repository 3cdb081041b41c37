"""A wall clock that jumps, in one process; nothing else on the machine notices."""

import datetime as dt
import sys
import time


class _AnyDatetime(type):
    """A class that stands in for `datetime`: real ones pass its checks, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, dt.date) and hasattr(instance, "hour")


def jump(seconds: float) -> None:
    """Move the wall clock of this process, forward or back; it adds to earlier jumps.

    The monotonic clock goes on as if nothing had happened, as it does on a real machine.
    """
    before, now, by = dt.datetime, time.time, dt.timedelta(seconds=seconds)

    class Jumped(dt.datetime, metaclass=_AnyDatetime):
        """What modules of this process see as `datetime` from now on."""

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return before.now(tz) + by

    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is before:
                setattr(module, name, Jumped)
    time.time = lambda: now() + seconds
