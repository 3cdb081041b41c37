"""A private RabbitMQ node."""

import signal
import socket
import subprocess  # feature: chassis_tests
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote  # feature: chassis_tests

from dev.child import Child
from dev.ports import on_free_ports
from dev.rabbitmq_installation import NoRabbitMQ, find_epmd, find_rabbitmq, install_rabbitmq
from dev.rabbitmq_node import Node
from dev.scratch import Scratch
from dev.virtual_hosts import VirtualHosts

__all__ = ["NoRabbitMQ", "RabbitMQ", "find_rabbitmq", "install_rabbitmq"]

READY_WITHIN = 60.0
STOP_WITHIN = 30.0


class RabbitMQ:
    """A RabbitMQ node with a data folder and ports of its own, gone when its block ends.

    In a folder that stays, data and ports are there again with the next block.

    `with RabbitMQ() as broker:` and connect to `broker.url`; `broker.management_url` answers over
    HTTP, both as guest/guest. In between it can be stopped, killed and started again: data and
    ports stay the same. It runs the installed RabbitMQ as whoever we are, root included, apart from
    any node that the system runs.
    """

    url: str
    management_url: str
    version: str
    _node: Node

    def __init__(self, server: Path | None = None, *, folder: Scratch | None = None) -> None:
        found = server or find_rabbitmq()
        epmd = find_epmd(found) if found else None
        if found is None or epmd is None:
            raise NoRabbitMQ
        self._program, self._epmd = found, epmd
        self._folder = folder or Scratch("dev-rabbitmq-")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._scratch = stack.enter_context(self._folder)
            on_free_ports(4, self._start_on, before=self._scratch.ports)
            stack.callback(self._end)
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
    def name(self) -> str:
        """Its name in the cluster, such as `dev-12345@localhost`."""
        return self._node.name

    @property
    def running(self) -> bool:
        """Whether its process is there; it may be paused."""
        return self._server.running

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine."""
        return self._server.pid

    def start(self) -> None:
        """Start it again after `stop` or `kill`; on return it is ready, and recovered."""
        self._server.start(self._ready, within=READY_WITHIN, every=0.05)

    def stop(self) -> None:
        """Shut it down in order; data is kept. RabbitMQ itself takes about six seconds for that."""
        self._server.stop(signal.SIGTERM, within=STOP_WITHIN)

    def kill(self) -> None:
        """Kill it as a power failure would; data is kept.

        RabbitMQ 3.10 (and maybe later) writes a new quorum queue into its directory about a second
        late, and after a kill in this second the queue waits for a leader for ever.
        """
        self._server.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open, and nobody gets an answer."""
        self._server.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._server.resume()

    # feature: chassis_tests {
    def queues_written(self) -> bool:
        """Whether this node has written each quorum queue; wait for that before `kill`."""
        directories = self._seen(self._node.data).rglob("quorum/*/names.dets")
        written = b"".join(file.read_bytes() for file in directories)
        # As Erlang writes them: the name, then `m`, the mark of the text that follows.
        names = [
            f"{quote(queue['vhost'], safe='')}_{queue['name']}m\0".encode()
            for queue in self._virtual_hosts.ask("GET", "/api/queues")
            if queue["type"] == "quorum"
        ]
        return all(name in written for name in names)

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this node and return what it printed; RuntimeError if it fails."""
        done = subprocess.run(
            [str(self._program.with_name("rabbitmqctl")), "--quiet", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self._node.environment(),
            timeout=READY_WITHIN,
        )
        if done.returncode:
            raise RuntimeError(
                f"rabbitmqctl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout

    def create_virtual_host(self, name: str | None = None) -> str:
        """Create a virtual host in which guest may do everything, and return its URL."""
        return self._virtual_hosts.create(name)

    def drop_virtual_host(self, url: str) -> None:
        """Drop a virtual host with its queues and connections."""
        self._virtual_hosts.drop(url)

    # feature: chassis_tests }
    def _start_on(self, ports: list[int]) -> None:
        peer = self._peer()
        amqp, management, distribution, mapper_port = ports
        epmd = peer.epmd_port if peer else mapper_port
        data = self._home() / "data"
        # Its data is named after it, and is lost to one of another name, whatever its port is now.
        known = [each.name for each in data.glob("dev-*@localhost")]
        self._node = node = Node(
            *(self._scratch.path, data, amqp, management, distribution, epmd),
            name=known[0] if known else f"dev-{amqp}@localhost",
            peer=peer,
        )
        node.write_files(self._program.parent)
        self.url, self.management_url = node.url, node.management_url
        self._virtual_hosts = VirtualHosts(node.url, node.management_url)
        # Erlang's port mapper, in the foreground: the one that Erlang starts by itself stays behind
        # for ever.
        mapper = [self._epmd, "-port", str(node.epmd_port), "-address", "127.0.0.1"]
        self._mapper = Child("epmd", mapper, scratch=self._scratch, environment=node.environment())
        self._server = Child(
            "rabbitmq",
            self._where([str(self._program)]),
            scratch=self._scratch,
            environment=node.environment(),
        )
        try:
            if peer is None:
                self._mapper.start(self._mapped, within=10)
            self.start()
        except BaseException:
            self._end()
            raise
        self._scratch.remember(ports)

    def _home(self) -> Path:
        """The folder for its data."""
        return self._scratch.path

    def _seen(self, path: Path) -> Path:
        """Where we read what it has written there."""
        return path

    def _where(self, command: list[str]) -> list[str]:
        """The command that runs this one where its data is."""
        return command

    def _peer(self) -> Node | None:
        """The node that it forms a cluster with, whose port mapper and password are its own."""
        return None

    def _end(self) -> None:
        if self._scratch.stays:
            self.stop()
        # Otherwise killed: the data goes with the folder, and nobody has to wait six seconds for
        # that.
        self._server.kill()
        self._mapper.kill()

    def _mapped(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._node.epmd_port), timeout=1).close()
        except OSError:
            return False
        return self._mapper.running

    def _ready(self) -> bool:
        # The node's name is compared: another node could have been given the same port.
        try:
            overview = self._virtual_hosts.ask("GET", "/api/overview")
        except (OSError, HTTPException, RuntimeError):
            return False
        self.version = str(overview["rabbitmq_version"])
        listeners = overview["listeners"]
        return any(
            each["node"] == self._node.name and each["protocol"] == "amqp" for each in listeners
        )
