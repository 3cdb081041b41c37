"""One server process of ours: started, awaited, stopped or killed, with its own children."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pwd import struct_passwd

import psutil

from dev.scratch import Scratch


class ServerFailed(RuntimeError):
    """A server didn't start or ended too early; the text ends with the last lines of its log."""


class Child:
    """A server that logs to a file in its folder and leaves no process behind.

    It runs in a session of its own, so that Ctrl-C in a terminal doesn't reach it: whoever uses the
    server ends first. `stop` and `kill` may be called at any time, also twice, and return when all
    its processes are gone.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        scratch: Scratch,
        environment: Mapping[str, str],
        user: struct_passwd | None = None,
    ) -> None:
        self.name = name
        self.log = scratch.path / f"{name}.log"
        self._command = command
        self._scratch = scratch
        self._environment = environment
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; an error when the server isn't running."""
        if self._process is None or self._process.poll() is not None:
            raise ServerFailed(f"{self.name} isn't running; start() it first\n{self.tail()}")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool], *, within: float, every: float = 0.02) -> None:
        """Return when the server is ready; raise ServerFailed if it ends or isn't ready in time.

        Nothing is left of it then.
        """
        if self.running:
            raise ServerFailed(f"{self.name} is running already, as process {self.pid}")
        self._release()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._scratch.path,
                start_new_session=True,
                user=self._user and self._user.pw_uid,
                group=self._user and self._user.pw_gid,
                extra_groups=None if self._user is None else [],
            )
        self._scratch.adopt(self._process.pid)
        try:
            self._await(ready, within=within, every=every)
        except BaseException:
            self.kill()
            raise

    def stop(self, how: signal.Signals, *, within: float) -> None:
        """Ask the server to end, and wait; what is still there after so many seconds is killed."""
        family: list[psutil.Process] = []
        if self._process is not None and self.running:
            family = family_of(self._process.pid)
            self._process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
        self.kill()
        end(family, patience=1)

    def kill(self) -> None:
        """End the server as a power failure would, its own children included."""
        if self._process is not None and self.running:
            # Halted first, so that it can neither start one more child nor tell its children to
            # clean up.
            self._process.send_signal(signal.SIGSTOP)
            end(family_of(self._process.pid), patience=0)
            self._process.kill()
            self._process.wait()
        self._release()

    def pause(self) -> None:
        """Freeze it with its children: they are there, and answer nobody."""
        # Itself first, so that it can't start one more child meanwhile.
        parent = psutil.Process(self.pid)
        parent.suspend()
        for process in parent.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let it go on after `pause`; it doesn't matter if it isn't paused."""
        parent = psutil.Process(self.pid)
        for process in [*parent.children(recursive=True), parent]:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log, indented."""
        if not self.log.exists():
            return "    (no log)"
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"    last lines of {self.log}:", *(f"    {line}" for line in text)])

    def _await(self, ready: Callable[[], bool], *, within: float, every: float) -> None:
        deadline = time.monotonic() + within
        while not ready():
            if self._process is None or self._process.poll() is not None:
                status = self._process and self._process.returncode
                raise ServerFailed(f"{self.name} ended with status {status}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} wasn't ready in {within:.0f} s\n{self.tail()}")
            time.sleep(every)

    def _release(self) -> None:
        if self._process is not None:
            self._scratch.release(self._process.pid)
            self._process = None


def family_of(process: int) -> list[psutil.Process]:
    """Its children, and theirs."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process).children(recursive=True)
    return []


def end(family: list[psutil.Process], *, patience: float) -> None:
    """Return when all are gone: of themselves within so many seconds, or killed."""
    deadline = time.monotonic() + patience
    while left := [process for process in family if not _gone(process)]:
        if time.monotonic() >= deadline:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.005)


def _gone(process: psutil.Process) -> bool:
    # A zombie counts as gone: it runs nothing and holds nothing, and whoever has to reap it may
    # take a second.
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True
