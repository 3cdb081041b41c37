"""Finds the RabbitMQ of this machine, or installs one where that is a matter of one command."""

import os
import re
import shutil
import sys
from pathlib import Path

from dev import debian

# The wrappers that Debian and Red Hat put into /usr/sbin only work for root and for the user
# rabbitmq, and on the system's own data. The scripts behind them work for everybody.
PACKAGED = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
ELSEWHERE = (
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)


class NoRabbitMQ(RuntimeError):
    """There is no RabbitMQ to run; the text says what was looked for and what can be done."""

    def __init__(self, attempt: str = "") -> None:
        super().__init__(
            f"No RabbitMQ: {attempt or 'none is installed and apt-get cannot install one here'}.\n"
            f"Looked for rabbitmq-server in {PACKAGED}, {', '.join(ELSEWHERE)}\n"
            "and PATH, and for Erlang's erl and epmd in PATH. Any of these helps:\n"
            "  - set BROKER_URL (tests: TEST_BROKER_URL) to one that runs:\n"
            "    amqp://user:secret@host/\n"
            "  - install rabbitmq-server with the package manager of this system\n"
            "  - set TEST_RABBITMQ_SERVER to the script rabbitmq-server of one that is elsewhere\n"
            "  - run this as root where apt-get exists: it installs one and starts no service\n"
            "  - docker run --rm -p 5672:5672 rabbitmq:4, and amqp://guest:guest@localhost/"
        )


def find_rabbitmq() -> Path | None:
    """Return the script `rabbitmq-server` of the newest installed RabbitMQ, or None.

    Another one is taken if TEST_RABBITMQ_SERVER names it; NoRabbitMQ if that isn't there.
    """
    if named := os.environ.get("TEST_RABBITMQ_SERVER"):
        return _named(Path(named))
    packaged = sorted(Path("/").glob(PACKAGED.lstrip("/")), key=_version, reverse=True)
    folders = [*packaged, *map(Path, ELSEWHERE)]
    if on_path := shutil.which("rabbitmq-server"):
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if _is_whole(server := folder / "rabbitmq-server"):
            return server
    return None


def find_epmd(server: Path) -> str | None:
    """Return Erlang's port mapper, or None.

    It stands beside the server if that brings its own Erlang; else it came with the Erlang in PATH,
    without always being in PATH too.
    """
    if beside := shutil.which("epmd", path=server.parent):
        return beside
    erl = shutil.which("erl")
    return erl and (shutil.which("epmd") or shutil.which("epmd", path=Path(erl).resolve().parent))


def install_rabbitmq() -> Path:
    """Return an installed RabbitMQ; where there is none, root on Debian installs it first."""
    if found := find_rabbitmq():
        return found
    if not debian.can_install():
        raise NoRabbitMQ
    print(
        "No RabbitMQ found: apt-get installs the package rabbitmq-server, to run a private node.",
        file=sys.stderr,
        flush=True,
    )
    status = debian.install("rabbitmq-server")
    found = find_rabbitmq()
    if found is None:
        raise NoRabbitMQ(f"apt-get install rabbitmq-server ended with status {status}, see above")
    return found


def _named(server: Path) -> Path:
    if not _is_whole(server):
        raise NoRabbitMQ(
            f"TEST_RABBITMQ_SERVER is {server}, and there it is not, or not with its rabbitmqctl"
        )
    return server.absolute()


def _is_whole(server: Path) -> bool:
    return server.exists() and server.with_name("rabbitmqctl").exists() and bool(find_epmd(server))


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.parent.name)]
