"""Runs one command in the foreground of whoever called us."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


class Ended(BaseException):
    """We were told to end by a signal before there was a command that could have been told."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def ends_with_the_block() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Ended`, so that every block is left in order."""

    def end(number: int, _: FrameType | None) -> None:
        # Only once: the second Ctrl-C of an impatient reader must not interrupt the clean-up.
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it, pass SIGINT and SIGTERM on to it, and return its exit status as a shell would."""
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126

    def forward(number: int, _: FrameType | None) -> None:
        if not (number == signal.SIGINT and _in_foreground()):
            process.send_signal(number)

    for number in ENDING:
        signal.signal(number, forward)
    status = process.wait()
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    return status if status >= 0 else 128 - status


def _in_foreground() -> bool:
    # Ctrl-C has then reached the command too; the second one from us would make many commands give
    # up in a hurry.
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
