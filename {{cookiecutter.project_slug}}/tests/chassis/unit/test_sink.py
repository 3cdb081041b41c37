"""What happens to lines that cannot be written: they are counted, told of, and nobody waits."""

import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from acme_orders.chassis.observability.sink import Sink

SOON = 10.0  # seconds
# Python ends this with a thread that has the lock.
_ENDS = """
import sys, threading
from acme_orders.chassis.observability.sink import Sink

sink = sys.stderr = Sink(sys.stderr)
sink.line("last")
sink.drain(10)
held = threading.Event()

def hold():
    sink._changed.acquire()
    held.set()
    threading.Event().wait()

class Late:
    def __del__(self, sink=sink):
        sink.write("a destructor warns")
        sink.line("or logs")

sys.modules["late"] = Late()  # which Python takes away at the very end
threading.Thread(target=hold, daemon=True).start()
held.wait()
"""
TOLD = re.compile(rb"(\d+) lines of the log could not be written")


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, io.TextIOWrapper]]:
    """Both ends."""
    reading, writing = os.pipe()
    reader, writer = os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "w")
    yield reader, writer
    for end in (reader, writer):
        if not end.closed:
            end.close()


def test_lines_are_written_in_order(pipe: tuple[BinaryIO, io.TextIOWrapper]) -> None:
    """Also those of several threads."""
    reader, writer = pipe
    sink = Sink(writer)

    def shout(number: int) -> None:
        for each in range(200):
            sink.line(f"{number} {each}")

    threads = [threading.Thread(target=shout, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sink.drain(SOON)
    lines = os.read(reader.fileno(), 100_000).decode().splitlines()
    assert len(lines) == 800
    for n in range(4):
        mine = [line for line in lines if line.startswith(f"{n} ")]
        assert mine == [f"{n} {i}" for i in range(200)]


def test_a_reader_that_stops_reading_stops_nobody(
    pipe: tuple[BinaryIO, io.TextIOWrapper],
) -> None:
    """What does not fit is counted; when it goes on reading it gets what waited, and the number."""
    reader, writer = pipe
    sink = Sink(writer, size=100_000)
    counted: list[int] = []
    sink.on_drop = counted.append
    began = time.monotonic()
    for number in range(5000):
        sink.line(f"{number:099}")
    sink.drain(0.1)
    assert time.monotonic() - began < SOON
    assert 0 < sink.dropped < 5000
    assert sum(counted) == sink.dropped
    text = b""
    while sum(map(int, TOLD.findall(text))) < sink.dropped:
        text += os.read(reader.fileno(), 100_000)
    sink.line("and on it goes")
    while not text.endswith(b"and on it goes\n"):
        text += os.read(reader.fileno(), 100_000)
    lines = text.decode().splitlines()
    whole = [line for line in lines if len(line) == 99]
    assert len(whole) == 5000 - sink.dropped
    assert whole == sorted(whole)
    assert lines[-1] == "and on it goes"


def test_a_reader_that_has_gone_is_no_error(pipe: tuple[BinaryIO, io.TextIOWrapper]) -> None:
    """Every line is counted."""
    reader, writer = pipe
    sink = Sink(writer)
    reader.close()
    for _ in range(100):
        sink.line("x")
    sink.drain(SOON)
    assert sink.dropped == 100


def test_a_full_disk_is_no_error() -> None:
    """Likewise."""
    with Path("/dev/full").open("w") as disk:
        sink = Sink(disk)
        for _ in range(100):
            sink.line("x")
        sink.drain(SOON)
        assert sink.dropped == 100


def test_a_torn_line_does_not_spoil_the_next(
    pipe: tuple[BinaryIO, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may be full in the middle of one."""
    reader, writer = pipe
    sink, write = Sink(writer), os.write
    full = False

    def written(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:4])

    monkeypatch.setattr(os, "write", written)
    sink.line("0123456789")
    sink.drain(SOON)

    def torn(descriptor: int, data: bytes) -> int:
        nonlocal full
        if full:
            raise OSError(28, "No space left on device")
        full = True
        return write(descriptor, data[:4])

    monkeypatch.setattr(os, "write", torn)
    sink.line("abcdefghij")
    sink.drain(SOON)
    monkeypatch.setattr(os, "write", write)
    sink.line("whole again")
    sink.drain(SOON)
    assert os.read(reader.fileno(), 1000).decode().splitlines() == [
        "0123456789",
        "abcd",
        "whole again",
        "1 lines of the log could not be written",
    ]


def test_a_descriptor_that_others_made_non_blocking_loses_nothing(
    pipe: tuple[BinaryIO, io.TextIOWrapper],
) -> None:
    """Whoever shares a terminal or a pipe may do that."""
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    sink = Sink(writer)
    for number in range(2000):
        sink.line(f"{number:099}")
    text = b""
    while text.count(b"\n") < 2000:
        text += os.read(reader.fileno(), 100_000)
    assert sink.dropped == 0


def test_without_a_stream_lines_are_counted() -> None:
    """Standard error was closed before the start."""
    sink = Sink(None)
    sink.write("one\ntwo")
    sink.line("three")
    sink.drain(SOON)
    assert sink.dropped == 3
    assert not sink.isatty()


def test_a_process_ends_though_the_writer_has_ended_with_the_lock() -> None:
    """Python stops it wherever it is, and flushes standard error after that."""
    ended = subprocess.run(
        [sys.executable, "-c", _ENDS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "last\n")


def test_the_number_of_a_descriptor_is_not_trusted(
    pipe: tuple[BinaryIO, io.TextIOWrapper], tmp_path: Path
) -> None:
    """Whoever closes standard error makes room for a connection, which must not get the log."""
    reader, writer = pipe
    sink = Sink(writer)
    number = writer.fileno()
    writer.close()
    with (tmp_path / "connection").open("wb") as connection:
        assert connection.fileno() == number
        sink.line("x")
        sink.drain(SOON)
    assert (tmp_path / "connection").read_bytes() == b""
    assert os.read(reader.fileno(), 10) == b"x\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_encoding_lacks_is_escaped(
    pipe: tuple[BinaryIO, io.TextIOWrapper], encoding: str
) -> None:
    """Never an error, and never half a line."""
    reader, writer = pipe
    writer.reconfigure(encoding=encoding, errors="strict")
    sink = Sink(writer)
    sink.write("ä日\ud800\n")
    sink.drain(SOON)
    assert sink.dropped == 0
    assert os.read(reader.fileno(), 100).decode(encoding).endswith("\\ud800\n")


def test_plain_text_is_written_without_secrets(
    pipe: tuple[BinaryIO, io.TextIOWrapper],
) -> None:
    """A traceback comes in pieces; a question comes without the end of its line."""
    reader, writer = pipe
    sink = Sink(writer)
    sink.redact = lambda text: text.replace("Qx7zkv", "***")
    for piece in ("Value", "Error: Qx7", "zkv is wrong\nSure about Qx7zkv?"):
        sink.write(piece)
    sink.flush()
    sink.drain(SOON)
    assert os.read(reader.fileno(), 100) == b"ValueError: *** is wrong\nSure about ***?"


def test_it_takes_no_bytes(pipe: tuple[BinaryIO, io.TextIOWrapper]) -> None:
    """So click finds out that it is a stream of text."""
    with pytest.raises(TypeError):
        Sink(pipe[1]).write(b"x")  # type: ignore[arg-type]


def test_a_destructor_that_warns_in_the_middle_of_it_waits_for_nobody(
    pipe: tuple[BinaryIO, io.TextIOWrapper],
) -> None:
    """The garbage collector runs where it likes, also while this thread holds the lock."""
    reader, writer = pipe
    sink = Sink(writer)
    with sink._changed:
        sink.line("from a destructor")
    sink.drain(SOON)
    assert os.read(reader.fileno(), 100) == b"from a destructor\n"
