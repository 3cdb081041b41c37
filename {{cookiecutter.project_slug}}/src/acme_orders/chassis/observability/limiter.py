"""One cause, told a few times and then counted.

A failure that concerns every message would write a line for each of them: gigabytes in an hour, in
which everything else that happened is lost.
"""

import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict

log = structlog.get_logger()

SUPPRESSED = "log.suppressed"
# What tells causes apart, beside the name of the event, `why`, and the place of an exception.
_FIELDS = ("logger", "type", "query", "reason", "error", "kind", "sqlstate", "queue", "role")
_LONGEST = 200  # characters of a field that count
_CAUSES = 20  # of one event; what comes beyond counts as one more
_EVENTS = 100  # likewise
_FORGOTTEN = 60.0  # seconds without a line about it
_OTHERS = ("others",)
_VARIABLE = re.compile(r"(?<![\w-])(?=[\w-]*\d)[\w-]+")  # ids, times, numbers: no other cause

Cause = tuple[Any, ...]


@dataclass(slots=True)
class _State:
    """Of one cause: lines that may pass now, when the last one came, and how many did not pass."""

    tokens: float
    seen: float
    suppressed: int = 0
    level: str = "info"


class Limiter:
    """A structlog processor that lets the first lines about a cause pass, and then one at a time.

    The line that passes after others did not says how many, in `suppressed`. If no other comes, a
    line of its own says it.

    Args:
        burst: lines about one cause that pass at once.
        interval: seconds between those that pass afterwards.
        on_suppressed: told of each line that does not pass.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        burst: int,
        interval: float,
        on_suppressed: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._interval, self._clock = burst, interval, clock
        self._on_suppressed = on_suppressed
        self._events: dict[str, dict[Cause, _State]] = {}
        self._swept = clock()
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def __call__(self, _: object, level: str, event: EventDict) -> EventDict:
        """The same record, or none."""
        name = str(event.get("event"))
        if name == SUPPRESSED:
            return event
        with self._lock:
            state = self._state(str(event.get("logger") or name), _cause(name, event))
            if state.tokens < 1:
                state.suppressed, state.level = state.suppressed + 1, level
                self._on_suppressed()
                self._tell_later()
                raise structlog.DropEvent
            state.tokens -= 1
            suppressed, state.suppressed = state.suppressed, 0
        if suppressed:  # the traceback has been shown
            event = {key: value for key, value in event.items() if key != "exc_info"}
            event["suppressed"] = suppressed
        return event

    def tell(self, *, quiet_for: float = 0) -> None:
        """Say what did not pass of causes that nothing was heard of for so many seconds."""
        now, told = self._clock(), []
        with self._lock:
            for causes in self._events.values():
                for cause, state in causes.items():
                    if state.suppressed and now - state.seen >= quiet_for:
                        told.append((cause, state.level, state.suppressed))
                        state.suppressed = 0
        for cause, level, suppressed in told:
            about = {name: value for name, value in zip(_FIELDS, cause[3:], strict=False) if value}
            getattr(log, level)(SUPPRESSED, of=cause[0], suppressed=suppressed, **about)

    def _state(self, event: str, cause: Cause) -> _State:
        now = self._clock()
        if event not in self._events and len(self._events) >= _EVENTS:
            self._sweep(now)
            event = event if len(self._events) < _EVENTS else _OTHERS[0]
        causes = self._events.setdefault(event, {})
        if cause not in causes and len(causes) >= _CAUSES:
            self._sweep(now)
            cause = cause if len(causes) < _CAUSES else (event, *_OTHERS)
        state = causes.setdefault(cause, _State(self._burst, now))
        refilled = state.tokens + (now - state.seen) / self._interval
        state.tokens, state.seen = min(self._burst, refilled), now
        return state

    def _sweep(self, now: float) -> None:
        """Forget causes that nothing was heard of for long; not more often than it pays."""
        if now - self._swept < self._interval:
            return
        self._swept = now
        for event, causes in list(self._events.items()):
            for cause, state in list(causes.items()):
                if not state.suppressed and now - state.seen > _FORGOTTEN:
                    del causes[cause]
            if not causes:
                del self._events[event]

    def _tell_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(2 * self._interval, self._tell_quiet)
            self._timer.daemon = True
            self._timer.start()

    def _tell_quiet(self) -> None:
        self.tell(quiet_for=self._interval)
        with self._lock:
            self._timer = None
            if any(state.suppressed for each in self._events.values() for state in each.values()):
                self._tell_later()


def _cause(name: str, event: EventDict) -> Cause:
    fields = (_text(event.get(field)) for field in _FIELDS)
    return (_alike(name), _alike(_text(event.get("why"))), _place(event), *fields)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value[:_LONGEST] if isinstance(value, str) else type(value).__name__


def _alike(text: str) -> str:
    """The same for texts that differ in what differs every time."""
    return _VARIABLE.sub("#", text[:_LONGEST])


def _place(event: EventDict) -> tuple[str, str, int] | None:
    """Where the exception was raised."""
    error = event.get("exc_info")
    error = sys.exc_info()[1] if error is True else error
    error = error[1] if isinstance(error, tuple) else error
    if not isinstance(error, BaseException):
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace and trace.tb_frame.f_code
    return (type(error).__name__, code.co_filename, trace.tb_lineno) if code and trace else None
