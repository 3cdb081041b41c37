"""Standard error that never stops the work: a thread writes, and what cannot be written is counted.

A pipe that nobody reads, a reader that has gone, a full disk: a process that waited for its log, or
failed because of it, would lose messages over a line about them.
"""

import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

_SIZE = 4 * 1024 * 1024  # bytes that wait to be written; a slow reader catches up, a dead one won't
_STANDARD_ERROR = 2


class Sink(io.TextIOBase):
    """Takes the place of `sys.stderr`.

    Args:
        stream: where the text goes; None if the process was started without one.
        size: bytes that may wait; what comes then is dropped.
    """

    def __init__(self, stream: TextIO | None, *, size: int = _SIZE) -> None:
        self.dropped = 0
        self.on_drop: Callable[[int], None] = lambda _: None
        self.redact: Callable[[str], str] = lambda text: text
        self.about_dropped: Callable[[int], str] = "{} lines of the log could not be written".format
        self._stream, self._size = stream, size
        self._fd = _own_descriptor(stream)
        self._untold = 0
        self._torn = False  # the last line is there in part
        self._text = ""  # not yet a line
        self._waiting: deque[bytes] = deque()
        self._held = 0
        # Reentrant: a destructor may warn at any allocation, while this very thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._writer: threading.Thread | None = None

    # As a stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream behind it."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def fileno(self) -> int:
        """Of the stream behind it."""
        return self._stream.fileno() if self._stream else super().fileno()

    def isatty(self) -> bool:
        """Whether somebody reads it on a terminal."""
        return self._stream is not None and self._stream.isatty()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Take plain text, such as a traceback; it is written line by line, without secrets."""
        if not isinstance(text, str):  # so click finds out that this takes no bytes
            raise TypeError(f"text is written here, not {type(text).__name__}")
        if sys.is_finalizing():  # the writer has ended, maybe with the lock in its hands
            return len(text)
        with self._changed:
            *lines, self._text = f"{self._text}{text}".split("\n")
        for line in lines:
            self.line(self.redact(line))
        return len(text)

    def flush(self) -> None:
        """Write the beginning of a line, such as a question, without waiting for it."""
        if sys.is_finalizing():  # as Python itself calls it: a command would never end
            return
        with self._changed:
            text, self._text = self._text, ""
        if text:
            self._put(self._bytes(self.redact(text)))

    # For the log

    def line(self, text: str) -> None:
        """Write a line, soon, or drop it."""
        self._put(self._bytes(f"{text}\n"))

    def lost(self, lines: int = 1) -> None:
        """Count lines that cannot be written."""
        with self._changed:
            self.dropped += lines
            self._untold += lines
        self.on_drop(lines)

    def drain(self, seconds: float) -> None:
        """Return when all is written or dropped, or after so many seconds."""
        self.flush()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, timeout=seconds)

    def _bytes(self, text: str) -> bytes:
        try:
            return text.encode(self.encoding, "backslashreplace")
        except LookupError:  # an encoding that nobody knows
            return text.encode("ascii", "backslashreplace")

    def _put(self, data: bytes) -> None:
        if sys.is_finalizing():
            return
        with self._changed:
            full = self._fd is None or self._held + len(data) > self._size
            if not full:
                self._held += len(data)
                self._waiting.append(data)
                self._begin()
                self._changed.notify_all()
        if full:
            self.lost()

    def _begin(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, name="log", daemon=True)
            self._writer.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                data = self._waiting[0]
            if self._written(data):
                self._tell_of_dropped()
            else:
                self.lost()
            with self._changed:
                self._held -= len(self._waiting.popleft())
                self._changed.notify_all()

    def _tell_of_dropped(self) -> None:
        with self._changed:
            lines, self._untold = self._untold, 0
        if lines and not self._written(self._bytes(f"{self.about_dropped(lines)}\n")):
            with self._changed:
                self._untold += lines

    def _written(self, data: bytes) -> bool:
        assert self._fd is not None
        rest = b"\n" + data if self._torn else data
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # another process has made it so for all who share it
                select.select((), (self._fd,), ())
            except OSError:
                self._torn = self._torn or len(rest) < len(data)
                return False
        self._torn = False
        return True


def _own_descriptor(stream: TextIO | None) -> int | None:
    """A descriptor that nobody else can close: its number would soon be that of a connection."""
    if stream is None:
        with suppress(OSError):
            os.fstat(_STANDARD_ERROR)
            return None  # somebody else's by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_ERROR)
        return None
    try:
        return os.dup(stream.fileno())
    except (OSError, ValueError):
        return None


def end(seconds: float) -> None:
    """Write what waits, for so many seconds at most; then the process may end."""
    if isinstance(sys.stderr, Sink):
        sys.stderr.drain(seconds)
