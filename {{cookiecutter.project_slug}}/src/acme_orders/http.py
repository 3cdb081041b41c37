"""Serving HTTP inside the process's own event loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from acme_orders.errors import ConfigurationError


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
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"{setting}={port} cannot be used: {error.strerror}; "
            f"stop the other process or set {setting} to a free port"
        ) from error


async def serve(app: ASGIApp, on: socket.socket, stop: asyncio.Event) -> None:
    """Serve `app` on a listening socket until `stop` is set; requests under way are finished.

    When it is cancelled instead, they are cut off: nobody waits for them any more.
    """
    server = Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[on]))
    try:
        await stop.wait()
        server.should_exit = True
        await serving
    except asyncio.CancelledError:
        server.should_exit = server.force_exit = True
        await serving
        raise
