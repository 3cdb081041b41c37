# feature: http_api
"""Many clients that send byte by byte, or take their answer so; whoever is cut off comes back.

`python -m tests.chassis.edge.slow PORT NUMBER` prints a line when each of them has been connected,
and goes on until it is killed. It is a process of its own, so that nobody else's time is measured.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from tests.chassis.edge.process import head

BYTE = 1.0  # seconds for each
BACK = 15.0  # seconds until somebody who was cut off comes back
REQUESTS = (  # what comes at once, and what comes byte by byte
    (b"", head("POST", "/sales", Content_Length="100000")),
    (head("POST", "/sales", Content_Length="100000"), b"x" * 100_000),
    (head("GET", "/forms/long?size=100000"), b""),
)


async def main(port: int, number: int) -> None:
    """Never ends."""
    waiting, all_are_here = set(range(number)), asyncio.Event()

    def arrived(one: int) -> None:
        waiting.discard(one)
        if not waiting:
            all_are_here.set()

    async with asyncio.TaskGroup() as group:
        for one in range(number):
            group.create_task(_client(port, one, arrived))
        await all_are_here.wait()
        sys.stdout.write("all of them have been connected\n")
        sys.stdout.flush()


async def _client(port: int, one: int, arrived: Callable[[int], None]) -> None:
    await asyncio.sleep(BACK * (one % 100) / 100)  # not all in the same moment
    while True:
        with suppress(OSError), socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            arrived(one)
            await _dribble(client, *REQUESTS[one % len(REQUESTS)])
        await asyncio.sleep(BACK)


async def _dribble(client: socket.socket, at_once: bytes, bytewise: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, at_once)
    for byte in bytewise:
        await loop.sock_sendall(client, bytes([byte]))
        await asyncio.sleep(BYTE)
    received = b"x"
    while received:
        received = await loop.sock_recv(client, 1)
        await asyncio.sleep(BYTE)


if __name__ == "__main__":
    port, number = map(int, sys.argv[1:])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number + 100, most), most))
    asyncio.run(main(port, number))
