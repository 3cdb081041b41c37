"""A private PostgreSQL server."""

import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.child import Child, ServerFailed
from dev.databases import Databases  # feature: chassis_tests
from dev.environment import POSTGRES, without
from dev.ports import on_free_ports
from dev.postgres_binaries import binaries_for, server_user
from dev.scratch import Scratch

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # In its data, not loose in /dev/shm: a killed server would leave files there for ever, and in
    # containers it is tiny.
    "dynamic_shared_memory_type": "mmap",
}
# What does not survive the machine has not to reach the disk, which makes and removes the files of
# each test's database slowly. Everything that a program can observe, such as the order of commits,
# stays as it is in production.
FLEETING = {"fsync": "off", "full_page_writes": "off"}
# Sorted by code point, upper and lower case by Unicode: the same on every machine, whatever locales
# it has.
LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
BUILTIN_SINCE = 17  # the version of PostgreSQL; before it, the machine has to have that locale
OLDER_LOCALE = ("--encoding=UTF8", "--locale=C.UTF-8")
READY_WITHIN = 30.0
STOP_WITHIN = 10.0


class Postgres:
    """A PostgreSQL server with a data folder and a port of its own, gone when its block ends.

    In a folder that stays, data and port are there again with the next block.

    `with Postgres() as server:` and connect to `server.url` as the superuser `postgres`, without a
    password. In between it can be stopped, killed and started again: data and port stay the same.
    `settings` overrides postgresql.conf, for example `{"max_connections": "20"}`.
    """

    url: str
    port: int
    version: str

    def __init__(
        self, *, settings: Mapping[str, str] | None = None, folder: Scratch | None = None
    ) -> None:
        lasting = {} if folder and folder.stays else FLEETING
        self._settings = {**SETTINGS, **lasting, **(settings or {})}
        fleeting = self._settings.get("fsync") == FLEETING["fsync"]
        self._folder = folder or Scratch("dev-postgres-", in_memory=fleeting)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            scratch = stack.enter_context(self._folder)
            self._scratch = scratch
            self._data = self._home() / "data"
            self._user = server_user()
            self._binaries = binaries_for(self._user, scratch.path)
            self.version = self._run("postgres", "--version").split()[2]
            self._fill()
            on_free_ports(1, self._start_on, before=scratch.ports)
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

    @property
    def running(self) -> bool:
        """Whether the server is there; it may be paused, or recovering."""
        return self._server.running

    @property
    def pid(self) -> int:
        """The process id of the server itself, the parent of all sessions."""
        return self._server.pid

    def start(self) -> None:
        """Start it again after `stop` or `kill`; on return it is ready, and recovered."""
        self._server.start(self._ready, within=READY_WITHIN, every=0.01)

    def stop(self) -> None:
        """Shut it down in order: sessions are cut off, data is kept."""
        self._server.stop(signal.SIGINT, within=STOP_WITHIN)

    def kill(self) -> None:
        """Kill it with all its sessions, as a power failure would; data is kept."""
        self._server.kill()

    def pause(self) -> None:
        """Freeze it with all its sessions: connections stay open, and nobody gets an answer."""
        self._server.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._server.resume()

    def ask(self, sql: str) -> str:
        """Run SQL as the superuser and return what `psql` prints, unaligned and without titles."""
        return self._run("psql", "--no-psqlrc", "-At", "-c", sql, self.url).strip()

    # feature: chassis_tests {
    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """Create a database, empty or a copy of `template` (a URL or a name); return its URL."""
        return self._databases().create(name, template=template)

    def drop_database(self, url: str) -> None:
        """Drop a database, also with connections open."""
        self._databases().drop(url)

    def _databases(self) -> Databases:
        return Databases(self.url, binaries=self._binaries, environment=without(*POSTGRES))

    # feature: chassis_tests }
    def _fill(self) -> None:
        if self._scratch.ports:
            # Of a server that was killed. It runs no more (dev/kept.py), and a process that has its
            # number by now would keep this one from starting.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            return
        account = ("--username=postgres", "--auth=trust")
        new = int(self.version.partition(".")[0]) >= BUILTIN_SINCE
        locale = LOCALE if new else OLDER_LOCALE
        self._run("initdb", *account, *locale, "--no-sync", f"--pgdata={self._data}")

    def _start_on(self, ports: list[int]) -> None:
        (self.port,) = ports
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        program = str(self._binaries / "postgres")
        self._server = Child(
            "postgres",
            self._where([program, f"-D{self._data}", f"-p{self.port}", *options]),
            scratch=self._scratch,
            environment=_environment(),
            user=self._user,
        )
        self.start()
        self._scratch.remember(ports)

    def _ready(self) -> bool:
        # As pg_ctl does; on our port, another server could answer that was given the same one.
        try:
            pid = str(self.pid)
            lines = (self._seen(self._data) / "postmaster.pid").read_text().split()
        except (FileNotFoundError, ServerFailed):
            return False
        return lines[:1] == [pid] and lines[-1:] == ["ready"]

    def _home(self) -> Path:
        """The folder for its data."""
        return self._scratch.path

    def _seen(self, path: Path) -> Path:
        """Where we read what it has written there."""
        return path

    def _where(self, command: list[str]) -> list[str]:
        """The command that runs this one where its data is."""
        return command

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            self._where([str(self._binaries / program), *arguments]),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._scratch.path,
            env=_environment(),
            user=self._user and self._user.pw_uid,
            group=self._user and self._user.pw_gid,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode:
            raise ServerFailed(f"{program}: {done.stderr.strip()}")
        return done.stdout


def _environment() -> dict[str, str]:
    return {**without(*POSTGRES), "LC_ALL": "C", "TZ": "UTC"}
