"""Serving HTTP inside the process's own event loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.http.client import Client
from acme_orders.chassis.http.clients import ClientLimits, Clients

_BUFFER = 64 * 1024  # bytes in the kernel, for each direction of a connection; it takes megabytes


class Server(uvicorn.Server):
    """uvicorn that leaves the signals to the service."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the service drains all its parts on SIGTERM, not only this one."""
        yield


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Take a port before anything else starts.

    Raises:
        ConfigurationError: the port is in use or not allowed.
    """
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"{setting}={port} cannot be used: {error.strerror}; "
            f"stop the other process or set {setting} to a free port"
        ) from error
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listening.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER)
    return listening


async def serve(
    app: ASGIApp, on: socket.socket, stop: asyncio.Event, clients: Clients | None = None
) -> None:
    """Serve `app` on a listening socket until `stop` is set; requests under way are finished.

    When it is cancelled instead, they are cut off: nobody waits for them any more.
    """
    if clients is None:
        clients = Clients(ClientLimits())
    config = uvicorn.Config(
        app,
        http=cast("Any", partial(Client, clients)),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a warning is about what a client does, and it may do that often
        access_log=False,
        backlog=clients.limits.accepted,
        timeout_keep_alive=round(clients.limits.idle),
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[on]))
    watching = asyncio.create_task(clients.watch(stop))
    try:
        await stop.wait()
        server.should_exit = True
        await serving
    except asyncio.CancelledError:
        server.should_exit = server.force_exit = True
        await serving
        raise
    finally:
        watching.cancel()
