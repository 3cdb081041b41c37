"""The operations port: what an orchestrator and Prometheus see."""

import asyncio
from http.client import HTTPConnection

from acme_orders.chassis.errors import DatabaseUnavailable
from acme_orders.chassis.http.server import listen, serve
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.probes import operations


async def get(port: int, path: str) -> tuple[int, str]:
    """One request."""

    def exchange() -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    return await asyncio.to_thread(exchange)


async def test_an_outage_turns_ready_red_and_leaves_live_green() -> None:
    """A restart would not bring the database back."""
    metrics, well, stop = Metrics(), [True], asyncio.Event()

    async def database() -> None:
        if not well[0]:
            raise DatabaseUnavailable("no connection")

    listening = listen("127.0.0.1", 0, "OPERATIONS_PORT")
    port = listening.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(operations(metrics, {"postgresql": database}), listening, stop))
        assert await get(port, "/live") == (200, "live\n")
        assert await get(port, "/ready") == (200, '{"postgresql":"ok"}')
        well[0] = False
        assert await get(port, "/ready") == (503, '{"postgresql":"no connection"}')
        assert (await get(port, "/live"))[0] == 200
        metrics.dead_letters.labels("malformed").inc()
        status, text = await get(port, "/metrics")
        assert status == 200
        assert 'dead_letters_total{reason="malformed"} 1.0' in text
        stop.set()
