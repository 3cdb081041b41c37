"""What happens to the process."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import structlog

from acme_orders.chassis.http.clients import ClientLimits
from acme_orders.chassis.http.measured import Measured, named
from acme_orders.chassis.http.server import listen as listen_on
from acme_orders.chassis.http.server import serve
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.loop import watch_loop
from acme_orders.chassis.observability.probes import operations
from acme_orders.chassis.observability.sink import Sink
from acme_orders.chassis.process.run import _clients
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.process.shutdown import Shutdown

from tests.chassis.integration.causes import moves


@moves("part_restarts")
async def a_part_ends(service: Service) -> AsyncIterator[None]:
    """And is started again."""

    async def end() -> None:
        raise LookupError

    keeping = asyncio.create_task(service.supervisor.keep("part", end))
    yield
    keeping.cancel()


@moves("event_loop_lag_seconds", "event_loop_blocked")
async def something_blocks_the_loop(service: Service) -> AsyncIterator[None]:
    """For longer than the limit."""
    async with watch_loop(service.metrics, service.supervisor, limit=0.2):
        await asyncio.sleep(0.1)
        time.sleep(0.6)  # noqa: ASYNC251
        yield


@moves("log_lines_dropped", "log_lines_suppressed")
async def nobody_reads_the_log(service: Service) -> AsyncIterator[None]:
    """A pipe whose reader has gone; and one line again and again."""
    reader, writer = os.pipe()
    os.close(reader)
    before, error = structlog.get_config(), sys.stderr
    with os.fdopen(writer, "w") as stream:
        sys.stderr = Sink(stream)
        try:
            logs.configure(level="INFO", style="json", burst=1, metrics=service.metrics)
            for _ in range(3):
                structlog.get_logger().info("again")
            yield
        finally:
            logs.end(0)  # else the limiter tells what it kept back in a later test of this process
            sys.stderr = error
            structlog.configure(**before)


@moves("drain_duration_seconds")
async def the_process_is_told_to_stop(service: Service) -> AsyncIterator[None]:
    """And drains."""
    shutdown = Shutdown(60, service.metrics)
    shutdown._end_within = lambda seconds: None  # type: ignore[method-assign]
    shutdown.close()
    yield


@moves("http_clients", "http_refused", "http_requests", "http_request_duration_seconds")
async def clients_come(service: Service) -> AsyncIterator[None]:
    """One asks, one stays, and one speaks no HTTP."""
    listening, stop = listen_on("127.0.0.1", 0, "OPERATIONS_PORT"), asyncio.Event()
    address, app = listening.getsockname(), operations(service.metrics, {})
    measured = Measured(app, named(app.routes), port="operations", metrics=service.metrics)
    clients = _clients(service.metrics, "operations", ClientLimits())
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        group.create_task(serve(measured, listening, stop, clients))
        for said in (b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b""):
            client = stack.enter_context(socket.create_connection(address))
            client.sendall(said)
        try:
            yield
        finally:
            stop.set()
