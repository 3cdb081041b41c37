"""Log lines about one cause: the first ones in full, then ever fewer."""

import time
from collections import OrderedDict
from dataclasses import dataclass

_FIRST = 10  # lines of a cause that are all written
_FORGOTTEN = 60.0  # seconds after its first line; then a cause is told like a new one
_MOST = 1000  # causes that are remembered


@dataclass(slots=True)
class _Cause:
    since: float
    times: int = 0


class Repeats:
    """Counts what is told, so that one cause that concerns many messages is no flood of lines.

    Of each cause the first ten lines of a minute are written, then the 16th, the 32nd, the 64th ….
    """

    def __init__(self) -> None:
        self._causes: OrderedDict[str, _Cause] = OrderedDict()

    def times(self, cause: str) -> int:
        """How often this has happened within the minute, 1 the first time; 0: do not write it."""
        now, known = time.monotonic(), self._causes.get(cause)
        if known is None or now - known.since > _FORGOTTEN:
            known = self._causes[cause] = _Cause(now)
            self._causes.move_to_end(cause)
            if len(self._causes) > _MOST:
                self._causes.popitem(last=False)
        known.times += 1
        few = known.times <= _FIRST or known.times & (known.times - 1) == 0
        return known.times if few else 0
