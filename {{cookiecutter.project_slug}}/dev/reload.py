"""The service, started again with every change of its code, until it is told to end."""

import ast
import os
import select
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from watchfiles import PythonFilter, watch

from dev.servers import say

SOURCE, MIGRATIONS = Path("src"), Path("migrations")
QUIET_MS = 100  # a burst of saves is over when nothing has been saved for so long
BURST_MS = 1600  # but longer than this nobody waits for its end
LOOK_MS = 500  # between two looks at a service that may have ended
GRACE = 10.0  # seconds, more than the service gives itself; then it is killed
NAMED = 3  # of many files
PROCESSES = get_context("forkserver")


class Command:
    """One command of the service, in a process that imports its code and then waits for `go`.

    So a new service imports while the old one finishes what it has in hand. It ends with us,
    however that comes about.
    """

    def __init__(self, *arguments: str) -> None:
        theirs, self._ours = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=_become, args=(arguments, theirs))
        self._process.start()
        theirs.close()

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.exitcode

    def go(self) -> None:
        """Let it begin, unless it has ended since its code can't be imported."""
        with suppress(BrokenPipeError):
            self._ours.send(None)

    def wait(self) -> int:
        """Return its exit status."""
        self.go()
        self._process.join()
        return self.status or 0

    def stop(self) -> None:
        """Let it finish what it has in hand; what it does not finish, comes again."""
        self._process.terminate()
        self._process.join(GRACE)
        self._process.kill()
        self._process.join()


class Reloader:
    """Runs the service, and another one in its place whenever code has been saved."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._mourned = False
        # Its libraries are imported once, by a process that each service begins as a copy of.
        PROCESSES.set_forkserver_preload([__name__, *sorted(_libraries(SOURCE))])

    def run(self) -> None:
        """Return when SIGINT or SIGTERM has come, and the service has ended."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        self._service = Command("run")
        self._service.go()
        for changes in watch(
            *(SOURCE, MIGRATIONS),
            watch_filter=PythonFilter(extra_extensions=[".sql"]),
            debounce=BURST_MS,
            step=QUIET_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
        ):
            self._look({Path(path) for _, path in changes})
        self._service.stop()

    def _look(self, changed: Iterable[Path]) -> None:
        names = sorted({each.name for each in changed})
        if code := [name for name in names if name.endswith(".py")]:
            self._again(f"{', '.join(code[:NAMED])}{' …' if len(code) > NAMED else ''} saved")
        elif names:
            say(f"{', '.join(names)} saved; Enter migrates and starts the service again.")
        elif _enter():
            Command("migrate", "up").wait()
            self._again("Enter")
        elif self._service.status is not None and not self._mourned:
            self._mourned = True
            say(
                f"The service has ended with status {self._service.status}. Whenever code is saved,"
                " it is started again; Enter also migrates."
            )

    def _again(self, why: str) -> None:
        say(f"{why}: the service is started again.")
        after = Command("run")
        self._service.stop()
        self._service, self._mourned = after, False
        self._service.go()


def _become(arguments: tuple[str, ...], gate: Connection) -> None:
    """Be this command as soon as somebody says so through the gate."""
    os.setpgrp()  # Ctrl-C is for us alone, who then end it
    from acme_orders.__main__ import main  # noqa: PLC0415

    # As it has been saved just now. `run` alone would import it behind the gate, and start later.
    import_module("acme_orders.service")
    import_module("acme_orders.chassis.cli.run")
    try:
        gate.recv()
    except EOFError:
        return
    threading.Thread(target=_end_with, args=(gate,), daemon=True).start()
    sys.argv = ["acme-orders", *arguments]
    main()


def _end_with(gate: Connection) -> None:
    with suppress(EOFError):
        gate.recv()
    os.kill(os.getpid(), signal.SIGTERM)


def _enter() -> bool:
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return False
    return bool(sys.stdin.readline())


def _libraries(source: Path) -> set[str]:
    """What the code imports that is none of its own."""
    own = {each.name for each in source.iterdir()}
    found = set[str]()
    for file in source.rglob("*.py"):
        with suppress(SyntaxError):  # of a file that is being written
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module)
                elif isinstance(node, ast.Import):
                    found.update(each.name for each in node.names)
    return {name for name in found if name.partition(".")[0] not in own}
