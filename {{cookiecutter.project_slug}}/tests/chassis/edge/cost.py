"""What a piece of code costs: time on the processor, and memory; however busy the machine is."""

import json
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MB = 1 << 20
LONGEST = 1.5  # yardsticks: some 100 ms where they take 65
LARGEST = 50.0  # MB
TRIES = 5
# What the standard library needs to parse 1 MiB of small objects; a slower or busier machine needs
# more for both.
_YARDSTICK = b"[" + b",".join([b'{"a":1}'] * (MB // 8)) + b"]"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of code.

    Args:
        yardsticks: of time on the processor, see above.
        megabytes: by which the process grew at its largest.
        result: of the piece of code.
    """

    yardsticks: float
    megabytes: float
    result: Any

    @property
    def bounded(self) -> bool:
        """Whether it is within the limits."""
        return self.yardsticks <= LONGEST and self.megabytes <= LARGEST


class Scales:
    """Measures, each time in a process of its own, whose parent stays small."""

    def __init__(self) -> None:
        self._yardstick = float("inf")
        self.look_at_the_yardstick()

    def measure(self, work: Callable[[], Any]) -> Cost:
        """What it costs: the best of some tries, because what disturbs only adds."""
        best = megabytes = float("inf")
        for _ in range(TRIES):
            seconds, more, result = _in_a_child(work)
            best, megabytes = min(best, seconds), min(megabytes, more)
            cost = Cost(self.in_yardsticks(best), megabytes, result)
            if cost.bounded:
                break
            self.look_at_the_yardstick()
        return cost

    def in_yardsticks(self, seconds: float) -> float:
        """A time on the processor that somebody else measured."""
        return seconds / self._yardstick

    def look_at_the_yardstick(self) -> None:
        """Measure it once more."""
        seconds, _, _ = _in_a_child(lambda: len(json.loads(_YARDSTICK)))
        self._yardstick = min(self._yardstick, seconds)


def _in_a_child(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Time on the processor in seconds, memory in MB, and the result."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            before = peak()
            began = time.process_time()
            result = work()
            found = (time.process_time() - began, peak() - before, result)
            os.write(writing, pickle.dumps(found))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        seconds, megabytes, result = pickle.load(answer)
    os.waitpid(child, 0)
    return seconds, megabytes, result


def peak() -> float:
    """The most memory that this process ever had, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
