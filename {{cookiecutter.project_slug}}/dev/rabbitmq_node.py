"""What makes a RabbitMQ node private: its names, ports, files and environment."""

import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{node.amqp_port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {node.management_port}
disk_free_limit.absolute = 10MB
"""
CLUSTER = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {node.peer.name}
cluster_formation.classic_config.nodes.2 = {node.name}
"""
# A `consumer_timeout` of seconds is noticed within a second more, instead of a minute.
ADVANCED = "[{rabbit, [{channel_tick_interval, 1000}]}].\n"
# One scheduler that doesn't spin: a broker on a small machine must not take the processor from
# those who test with it. With -sname the node is distributed from the start; RabbitMQ would
# otherwise start an Erlang of its own for that.
ERLANG = (
    "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -sname {node.name} -start_epmd false"
    " -kernel inet_dist_use_interface {{127,0,0,1}} inet_dist_listen_min {node.distribution_port}"
    " inet_dist_listen_max {node.distribution_port}"
)


@dataclass(frozen=True)
class Node:
    """A node that shares nothing with any other on this machine, the system's own included.

    Only with its `peer` it forms a cluster; then both have one port mapper and one cookie.
    `data` is a folder for what clients store, which may be elsewhere, and `name` its name in
    Erlang's network.
    """

    folder: Path
    data: Path
    amqp_port: int
    management_port: int
    distribution_port: int
    epmd_port: int
    name: str
    peer: "Node | None" = None

    @property
    def url(self) -> str:
        """Where AMQP is spoken, with the virtual host `/`."""
        return f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/"

    @property
    def management_url(self) -> str:
        """Where the management API answers."""
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    @property
    def cookie(self) -> str:
        """The password of Erlang's network, after `write_files`."""
        return (self.folder / ".erlang.cookie").read_text()

    def write_files(self, programs: Path) -> None:
        """Write the configuration, the plugins to enable, and the password of Erlang's network.

        A shell that reads `env` finds `rabbitmqctl` in `programs`, and by it this node.
        """
        found = self.environment()
        found["PATH"] = f"{programs}{os.pathsep}{found['PATH']}"
        exported = (f"export {name}={shlex.quote(value)}\n" for name, value in found.items())
        (self.folder / "env").write_text("".join(exported))
        text = CONFIGURATION + (CLUSTER if self.peer else "")
        (self.folder / "rabbitmq.conf").write_text(text.format(node=self))
        (self.folder / "advanced.config").write_text(ADVANCED)
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self.peer.cookie if self.peer else secrets.token_hex(16))
            cookie.chmod(0o400)  # Erlang refuses a cookie that others may read

    def environment(self) -> dict[str, str]:
        """Return the variables for `rabbitmq-server`, `rabbitmqctl` and `epmd`."""
        # All else is about another node: the scripts also obey variables without a prefix, such as
        # SERVER_ERL_ARGS and BOOT_MODULE.
        kept = {"PATH", "TMPDIR", "LANG", "LC_ALL"}
        return {
            **{name: value for name, value in os.environ.items() if name in kept},
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "absent.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG.format(node=self),
            # The start script then becomes the server instead of watching over it: one process to
            # signal and to kill.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
