"""Ports for servers that have to come back on the same one."""

import socket

import pytest

from dev.child import ServerFailed
from dev.ports import free_ports, is_free, on_free_ports


def test_ports_are_free_different_and_never_handed_out_by_the_system() -> None:
    """A port from the system's own range could be taken by a client while its server is down."""
    ports = free_ports(4)

    assert len(set(ports)) == 4
    assert all(is_free(port) for port in ports)
    assert max(ports) < 32768


def test_a_port_with_a_listener_is_not_free() -> None:
    """Only a listener counts; connections that have ended don't."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)

    assert is_free(port)


def test_a_lost_race_for_a_port_is_run_again() -> None:
    """Somebody listens on the port between our look and the server's start: others are tried."""
    tried: list[int] = []
    servers: list[socket.socket] = []

    def start(ports: list[int]) -> None:
        tried.extend(ports)
        if len(tried) == 1:
            servers.append(socket.create_server(("127.0.0.1", ports[0])))
            raise ServerFailed("address in use")

    on_free_ports(1, start)
    servers[0].close()

    assert len(set(tried)) == 2


def test_a_failure_that_has_nothing_to_do_with_ports_is_reported_at_once() -> None:
    """A server with bad settings isn't started three times."""
    calls: list[list[int]] = []

    def start(ports: list[int]) -> None:
        calls.append(ports)
        raise ServerFailed("bad settings")

    with pytest.raises(ServerFailed, match="bad settings"):
        on_free_ports(1, start)

    assert len(calls) == 1
