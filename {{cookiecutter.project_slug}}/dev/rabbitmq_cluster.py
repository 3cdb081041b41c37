# feature: chassis_tests
"""A private RabbitMQ cluster on one machine."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from dev.child import ServerFailed
from dev.rabbitmq import RabbitMQ
from dev.rabbitmq_node import Node
from dev.virtual_hosts import VirtualHosts

CUT = (
    "Others = {others},"
    " [erlang:set_cookie(Other, node()) || Other <- Others],"
    " [erlang:disconnect_node(Other) || Other <- Others]."
)
MEND = "[erlang:set_cookie(Other, erlang:get_cookie()) || Other <- {others}]."


class Member(RabbitMQ):
    """A node of a cluster; `joins` has to run."""

    def __init__(self, server: Path | None = None, *, joins: RabbitMQ | None = None) -> None:
        super().__init__(server)
        self._joins = joins

    def start(self) -> None:
        """Start it again; on return it is ready."""
        super().start()
        # It answers a moment before it has started. A virtual host that is created in between, on
        # whichever node, hangs for ever.
        self.ctl("await_startup")

    def _peer(self) -> Node | None:
        return self._joins._node if self._joins else None  # noqa: SLF001


class RabbitMQCluster:
    """Nodes that form one cluster, gone when the block ends.

    `with RabbitMQCluster() as cluster:` and connect to `cluster.url`, which names all nodes. Each
    of `cluster.nodes` can be stopped, killed, paused and started again; it rejoins by itself. While
    most of them run, quorum queues work.
    """

    def __init__(self, nodes: int = 3, *, server: Path | None = None) -> None:
        first = Member(server)
        self.nodes: list[RabbitMQ] = [
            first,
            *(Member(server, joins=first) for _ in range(nodes - 1)),
        ]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            first, *others = self.nodes
            stack.enter_context(first)
            # The pool is left first: a start under way when another fails is finished, and undone.
            with ThreadPoolExecutor() as pool:
                list(pool.map(stack.enter_context, others))
            if missing := {node.name for node in self.nodes} - self.members():
                raise ServerFailed(f"{', '.join(sorted(missing))} didn't join {first.name}")
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
    def url(self) -> str:
        """Where AMQP is spoken: all nodes, separated by commas, with the virtual host `/`."""
        places = ",".join(f"127.0.0.1:{urlsplit(node.url).port}" for node in self.nodes)
        return f"amqp://guest:guest@{places}/"

    @property
    def management_url(self) -> str:
        """Where the management API of the first living node answers."""
        for node in self.nodes:
            if node.running:
                return node.management_url
        raise ServerFailed("no node of the cluster is running; start() one first")

    def members(self) -> set[str]:
        """The names of the nodes that run, as the first living one sees it."""
        nodes = self._virtual_hosts.ask("GET", "/api/nodes")
        return {node["name"] for node in nodes if node["running"]}

    def pause_minorities(self) -> None:
        """Have a node that sees less than half of the others pause until it sees more of them."""
        setting = "application:set_env(rabbit, cluster_partition_handling, pause_minority)."
        for node in self.nodes:
            node.ctl("eval", setting)

    def cut_off(self, *cut: RabbitMQ) -> None:
        """Cut the network between these nodes and all others; clients reach them as before.

        Each node then has a password of its own for the others, so that neither side can connect.
        All links of a node are cut at once: with one of them left, others would pause as well.
        """
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: self._eval_for_others(node, CUT), cut))

    def rejoin(self, *cut: RabbitMQ) -> None:
        """Mend the network again; the nodes find each other within seconds."""
        for node in cut:
            self._eval_for_others(node, MEND)

    def _eval_for_others(self, node: RabbitMQ, what: str) -> None:
        names = ", ".join(f"'{other.name}'" for other in self.nodes if other is not node)
        node.ctl("eval", what.format(others=f"[{names}]"))

    def queues_written(self) -> bool:
        """Whether every node has written its new quorum queues; see `RabbitMQ.kill`."""
        return all(node.queues_written() for node in self.nodes)

    def create_virtual_host(self, name: str | None = None) -> str:
        """Create a virtual host in which guest may do everything; return its URL on all nodes."""
        return self._virtual_hosts.create(name)

    def drop_virtual_host(self, url: str) -> None:
        """Drop a virtual host with its queues and connections."""
        self._virtual_hosts.drop(url)

    @property
    def _virtual_hosts(self) -> VirtualHosts:
        return VirtualHosts(self.url, self.management_url)
