"""Ports for servers that start, die and come back on the same port."""

import random
import socket
from collections.abc import Callable, Sequence

from dev.child import ServerFailed

# Below the ports that systems hand out to outgoing connections (32768 and up on Linux, 49152 and up
# elsewhere). Up there, a client that keeps trying to reach a killed server is sooner or later given
# the server's port as its own, connects to itself, and the server can't come back.
PORTS = range(12_000, 32_000)


def on_free_ports(
    count: int,
    start: Callable[[list[int]], None],
    *,
    before: Sequence[int] = (),
    attempts: int = 3,
) -> None:
    """Call `start` with free ports; if it fails since somebody was quicker, with others.

    Those that it had before come first, as far as nobody has taken them.
    """
    for attempt in range(1, attempts + 1):
        ports = free_ports(count)
        ports = [
            old if is_free(old) else new for old, new in zip(before, ports, strict=False)
        ] or ports
        try:
            start(ports)
        except ServerFailed:
            if attempt == attempts or all(is_free(port) for port in ports):
                raise
        else:
            return


def free_ports(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 on which nobody listens at the moment."""
    found = [port for port in random.sample(PORTS, 50 + count) if is_free(port)][:count]
    if len(found) < count:
        raise ServerFailed(f"no {count} free ports between {PORTS.start} and {PORTS.stop - 1}")
    return found


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do: connections of the past, still in TIME_WAIT, are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
