"""PostgreSQL and RabbitMQ that stay when `make dev` ends: `python -m dev.stay stop` or `reset`.

A process of its own runs them, whoever has started it. It starts one again that has ended, on the
same port and with the same data, and says in `.env.running`, which the service and its command line
read, where they are. Data and ports are in `.dev/`, in the folder of the project.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values

from dev.child import ServerFailed
from dev.command import Ended, ends_with_the_block
from dev.environment import OTHER_ADDRESSES
from dev.kept import Lock, throw_away
from dev.postgres_binaries import NoPostgres
from dev.rabbitmq import NoRabbitMQ
from dev.servers import MISCONFIGURED, Running, say, servers

FOLDER = Path(".dev")
SERVICE, SERVERS = FOLDER / "service.lock", FOLDER / "servers.lock"
TOLD = Path(".env.running")
LOG = FOLDER / "servers.log"
STOPPED_WITHIN = 60.0
AGAIN = 1.0  # seconds between two looks at servers that may have ended


def standing() -> dict[str, str]:
    """Return the variables in which servers that stay are found; they are started if need be.

    Raises:
        ServerFailed: they can't be had; why has been said on standard error.
    """
    lock = Lock(SERVERS)
    if lock.holder is None:
        _start()
    while lock.holder and not TOLD.exists():  # another terminal starts them
        time.sleep(0.1)
    if lock.holder is None:
        raise ServerFailed(f"PostgreSQL and RabbitMQ don't run; see above, or in {LOG}")
    return {name: value or "" for name, value in dotenv_values(TOLD).items()}


def run() -> int:
    """Run them until SIGTERM comes."""
    if os.fork():  # nobody waits for the process that stays
        os._exit(0)
    lock = Lock(SERVERS)
    if not lock.take():
        return 0  # another terminal was quicker
    TOLD.unlink(missing_ok=True)  # of servers that were killed
    try:
        with ends_with_the_block(), servers(keep=FOLDER) as running, _told(running):
            _leave_the_terminal()
            while True:
                time.sleep(AGAIN)
                for server in (running.postgres, running.rabbitmq):
                    if server and not server.running:
                        say(f"{type(server).__name__} has ended and is started again")
                        server.start()
    except (NoPostgres, NoRabbitMQ) as missing:
        say(str(missing))
        return MISCONFIGURED
    except ServerFailed as failure:
        say(f"{failure}\n`make dev-reset` begins anew, without the data in {FOLDER}/.")
        return 1
    except Ended:
        return 0


def stop() -> None:
    """Stop them, and before them the service that needs them; their data stays."""
    for each in (SERVICE, SERVERS):
        _end(Lock(each))
    TOLD.unlink(missing_ok=True)  # of servers that were killed


def reset() -> None:
    """Stop them, and throw their data away."""
    stop()
    for each in FOLDER.iterdir() if FOLDER.exists() else ():
        throw_away(each)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, stop or reset the servers of the project in this folder."""
    parser = argparse.ArgumentParser(prog="python -m dev.stay", description=__doc__)
    parser.add_argument("what", choices=("run", "stop", "reset"))
    what = parser.parse_args(arguments).what
    if what == "run":
        return run()
    try:
        {"stop": stop, "reset": reset}[what]()
    except ServerFailed as failure:
        say(str(failure))
        return 1
    stays = "gone" if what == "reset" else f"in {FOLDER}/ for the next `make dev`"
    say(f"PostgreSQL and RabbitMQ are stopped; their data is {stays}.")
    return 0


def _end(lock: Lock) -> None:
    if holder := lock.holder:
        os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + STOPPED_WITHIN
    while lock.holder:
        if time.monotonic() > deadline:
            raise ServerFailed(f"process {holder} still runs after {STOPPED_WITHIN:.0f} s")
        time.sleep(0.1)


def _start() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dev.stay", "run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the service, not for them
        text=True,
    ) as starting:
        try:
            for line in starting.stderr or ():  # it ends when they are ready, or can't be
                say(line.rstrip())
        except BaseException:
            _end(Lock(SERVERS))
            raise


@contextmanager
def _told(running: Running) -> Iterator[None]:
    """Let commands in all terminals find these servers, and no owner of another database."""
    own = {**dict.fromkeys(OTHER_ADDRESSES, ""), "ENVIRONMENT": "development"}
    _write(TOLD, {**running.environment(), **own})
    try:
        yield
    finally:
        TOLD.unlink(missing_ok=True)


def _write(file: Path, variables: Mapping[str, str]) -> None:
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), "utf-8")
    new.replace(file)


def _leave_the_terminal() -> None:
    """What is said from now on is in a file, and whoever has listened knows that we are ready."""
    with LOG.open("w") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
