# feature: chassis_tests
"""A private PgBouncer before a PostgreSQL server."""

import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from dev import debian
from dev.child import Child
from dev.environment import POSTGRES, without
from dev.ports import on_free_ports
from dev.postgres_binaries import server_user
from dev.scratch import Scratch

Mode = Literal["session", "transaction"]
# The settings of docs/database.md, and what a private one needs beside them.
CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 500
query_wait_timeout = 10
server_reset_query = DISCARD ALL
auth_type = trust
auth_file = {folder}/userlist.txt
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
server_login_retry = 1
"""
_PLACES = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"


class NoPgBouncer(RuntimeError):
    """There is none, and none can be installed."""


class PgBouncer:
    """PgBouncer on a port of its own, gone when its block ends.

    `with PgBouncer(url, mode="transaction") as bouncer:` and connect to `bouncer.url(url)`.

    Args:
        url: of a database on the server; every other one of it can be reached, too.
        mode: for how long a client has a session of PostgreSQL.
        size: most sessions for each database and user.
        users: who may log in.

    Raises:
        NoPgBouncer: there is none, and none can be installed.
    """

    port: int

    def __init__(
        self, url: str, *, mode: Mode, size: int = 20, users: Sequence[str] = ("postgres",)
    ) -> None:
        self._server, self.mode, self._size, self._users = urlsplit(url), mode, size, users

    def __enter__(self) -> Self:
        self._program = _installed()
        with ExitStack() as stack:
            self._scratch = stack.enter_context(Scratch("dev-pgbouncer-"))
            self._scratch.path.chmod(0o755)
            users = self._scratch.path / "userlist.txt"
            users.write_text("".join(f'"{user}" ""\n' for user in self._users))
            on_free_ports(1, self._start_on)
            stack.callback(self.stop)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def url(self, url: str) -> str:
        """The same database through PgBouncer, as a service writes it."""
        found = urlsplit(url)
        user, at, _ = found.netloc.rpartition("@")
        place = f"{user}{at}127.0.0.1:{self.port}"
        return found._replace(netloc=place, query=f"pooler={self.mode}").geturl()

    def start(self) -> None:
        """Start it again after `kill`."""
        self._child.start(self._answers, within=10)

    def stop(self) -> None:
        """Stop it: clients are cut off."""
        self._child.stop(signal.SIGTERM, within=5)

    def kill(self) -> None:
        """Kill it, as a power failure would."""
        self._child.kill()

    def _start_on(self, ports: list[int]) -> None:
        (self.port,) = ports
        configuration = self._scratch.path / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(
                host=self._server.hostname,
                port=self._server.port or 5432,
                mode=self.mode,
                size=self._size,
                folder=self._scratch.path,
                own=self.port,
            )
        )
        self._child = Child(
            "pgbouncer",
            [self._program, str(configuration)],
            scratch=self._scratch,
            environment=without(*POSTGRES),
            user=server_user(),  # it refuses to be run by root
        )
        self.start()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _installed() -> str:
    if found := shutil.which("pgbouncer") or shutil.which("pgbouncer", path=_PLACES):
        return found
    if debian.can_install():
        debian.install("pgbouncer")
    if found := shutil.which("pgbouncer", path=_PLACES):
        return found
    raise NoPgBouncer("there is no pgbouncer, and apt-get cannot install one here")
