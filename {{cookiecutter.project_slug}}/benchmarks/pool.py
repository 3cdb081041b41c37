# feature: http_api
"""What a thousand requests at once get from a pool of a few connections."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from acme_orders.chassis.http.clients import ClientLimits, Clients
from acme_orders.chassis.http.server import listen, serve

from benchmarks.process import assembled
from benchmarks.servers import Servers
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_HEADERS = (
    "Host: localhost",
    f"X-Tenant-ID: {TENANT}",  # feature: row, rls, schema
    "Connection: close",
)
_REQUEST = "\r\n".join(("GET /sales?limit=10 HTTP/1.1", *_HEADERS, "", "")).encode()


@dataclass(frozen=True)
class Rush:
    """How many requests got which status, and how long all of them took."""

    statuses: Counter[str]
    seconds: float


async def rush(servers: Servers, *, requests: int) -> Rush:
    """Send so many requests at once, each on a connection of its own."""
    listening, stop = listen("127.0.0.1", 0, "HTTP_PORT"), asyncio.Event()
    port = listening.getsockname()[1]
    all_of_them = Clients(ClientLimits(clients=requests, accepted=requests))
    with servers.site() as environment:
        async with assembled(environment) as service, asyncio.TaskGroup() as group:
            group.create_task(serve(service.api(), listening, stop, all_of_them))
            await _ask(port)
            began = time.perf_counter()
            statuses = await asyncio.gather(*(_ask(port) for _ in range(requests)))
            seconds = time.perf_counter() - began
            stop.set()
    return Rush(Counter(statuses), seconds)


async def _ask(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_REQUEST)
    answer = await reader.read()
    writer.close()
    return answer.split(b" ", 2)[1].decode()
