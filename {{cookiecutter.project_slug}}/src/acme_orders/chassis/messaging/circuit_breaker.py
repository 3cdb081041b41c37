"""A circuit breaker: what fails for everybody is not tried with everybody."""

import random
import time
from collections import Counter, deque
from collections.abc import Hashable

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

_FIRST_PAUSE = 0.5  # seconds until the first trial
_ALIKE = 3  # different messages; two may be two bad ones, of more somebody would have heard


class CircuitBreaker:
    """Opens when something is broken for all messages, and closes when one gets through.

    Closed, it lets everybody pass. It opens when `_ALIKE` different messages failed alike for a
    reason that may lie outside them and none succeeded in between, when most of the last messages
    failed alike for whatever reason, or when somebody knows (`trip`). Open, it lets one message at
    a time pass, the trial; its success closes the circuit.

    Args:
        name: what is broken when it is open, for the log.
        gauge: is 1 higher as long as it is open.
        limit: share of failures that are alike which is too much.
        window: how many of the last messages are looked at.
        longest_pause: seconds between two trials, at most.
    """

    def __init__(
        self, name: str, gauge: Gauge, *, limit: float, window: int, longest_pause: float
    ) -> None:
        self.name, self.why, self.everybody = name, "", False
        self._gauge, self._limit, self._longest = gauge, limit, longest_pause
        self._outcomes: deque[str | None] = deque(maxlen=window)
        self._doubts: dict[str, dict[Hashable, float]] = {}  # messages, and when each failed first
        self._opened: float | None = None
        self._broken_since, self._sign = 0.0, ""
        self._pause = self._next = 0.0
        self._trial: object = None

    @property
    def open(self) -> bool:
        """Whether only a trial may pass."""
        return self._opened is not None

    @property
    def seconds(self) -> float:
        """For how long it has been open."""
        return 0.0 if self._opened is None else time.monotonic() - self._opened

    def admits(self, delivery: object) -> bool:
        """Whether a delivery may pass now."""
        return not self.open or delivery is self._trial

    # Trials

    def due(self) -> bool:
        """Whether it is time for a trial, and none is under way."""
        return self.open and self._trial is None and time.monotonic() >= self._next

    def begin_trial(self, delivery: object) -> None:
        """Let this delivery pass."""
        self._trial = delivery
        self._pause = min(2 * self._pause, self._longest)

    def end_trial(self, delivery: object) -> None:
        """It has passed, whatever came of it; unless that closed the circuit, another one may."""
        if delivery is self._trial:
            self._trial = None
            self._wait()

    # Evidence

    def succeeded(self, messages: int, *, began: float) -> None:
        """Messages got through, in a transaction that began at this time."""
        self._outcomes.extend([None] * messages)
        self._doubts.clear()
        if self.open and began >= self._broken_since:
            self.close()

    def failed(self, sign: str) -> None:
        """A message failed, and it may be its own fault; `sign` is what alike failures share."""
        self._outcomes.append(sign)
        if self.open or len(self._outcomes) < (self._outcomes.maxlen or 0):
            return
        worst, count = Counter(self._outcomes).most_common(1)[0]
        if worst is not None and count > self._limit * len(self._outcomes):
            self.trip(f"{count} of the last {len(self._outcomes)} messages failed alike: {worst}")

    def doubted(self, sign: str, message: Hashable) -> None:
        """A message failed, and it may be nobody's fault here."""
        alike = self._doubts.setdefault(sign, {})
        alike.setdefault(message, time.monotonic())
        if not self.open and len(alike) >= _ALIKE:
            self.trip(f"{len(alike)} messages failed alike, and none succeeded since: {sign}")
            self._broken_since, self._sign = min(alike.values()), sign

    def proved(self, sign: str) -> None:
        """Failures like these are the fault of their messages; close it if it opened for them."""
        if self.open and sign == self._sign:
            self.close()

    def trip(self, why: str, *, everybody: bool = False) -> None:
        """Open it, for a reason; `everybody`: whatever the message, it cannot succeed."""
        self.why = why
        if self.open:
            return
        self.everybody, self._opened = everybody, time.monotonic()
        self._broken_since, self._sign = self._opened, ""
        self._pause = min(_FIRST_PAUSE, self._longest)
        self._wait()
        self._gauge.inc()
        log.error("consumer.paused", circuit=self.name, why=why)

    def close(self) -> None:
        """It works again."""
        if self._opened is None:
            return
        log.info("consumer.resumed", circuit=self.name, seconds=round(self.seconds, 1))
        self._opened = self._trial = None
        self._outcomes.clear()
        self._doubts.clear()
        self._gauge.dec()

    def _wait(self) -> None:
        # Partly by chance: other processes wait for the same.
        self._next = time.monotonic() + random.uniform(self._pause / 2, self._pause)  # noqa: S311
