"""Every panel and every alert on live series: a Prometheus beside the running service.

Where none is installed (Debian: `apt-get install prometheus`) this is skipped, and says so.
"""

import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dev.ports import free_ports
from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.conftest import Connect, eventually, rows, send, sold
from tests.chassis.faults.prometheus import BACKFILL, RULES, prometheus
from tests.chassis.faults.seen import Seen

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus is installed"),
]


@pytest.fixture
def environment(database_url: str, broker_url: str) -> dict[str, str]:
    """Settings of a process on servers of this test."""
    (port,) = free_ports(1)
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": str(port),
        "HTTP_PORT": "0",
        "TOPOLOGY_CHECK": "1s",
        "OTEL_SDK_DISABLED": "true",  # feature: tracing
    }


@pytest.fixture
async def sender(connect: Connect, broker_url: str) -> AsyncIterator[Any]:
    """Another service, which sends."""
    async with connect(broker_url=broker_url) as service:
        yield service


def test_the_rules_are_rules() -> None:
    """As Prometheus itself reads them."""
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True)


async def test_every_expression_has_series_and_every_alert_is_quiet(
    environment: dict[str, str], sender: Any, tmp_path: Path
) -> None:
    """While messages are processed, nothing fails, and a backfill stands where it stands."""
    await rows(sender, BACKFILL)
    async with process(environment) as service:
        await service.ready()
        with prometheus(tmp_path, int(environment["OPERATIONS_PORT"])) as watching:

            async def none() -> bool:
                await send(sender, *(sold() for _ in range(20)))
                return not await watching.empty()

            try:
                await eventually(none, within=90)
            except TimeoutError:
                assert await watching.empty() == set()
            assert await watching.alerts() == set()


@pytest.mark.parametrize(
    ("runs", "missing"), [("relay", "ConsumerMissing"), ("consumer", "RelayMissing")]
)
async def test_whoever_is_missing_is_missed(
    environment: dict[str, str], sender: Any, tmp_path: Path, runs: str, missing: str
) -> None:
    """By a process that does something else, whose `/ready` is green."""
    async with process(environment, "--only", runs) as service:
        await service.ready()
        assert await service.status("/ready") == 200
        await send(sender, sold())
        with prometheus(tmp_path, int(environment["OPERATIONS_PORT"])) as watching:

            async def only_that() -> bool:  # before the first look at it everything is missing
                return await watching.alerts() == {missing}

            await eventually(only_that, within=60)


@contextmanager
def exporting(*series: str) -> Iterator[tuple[int, set[str]]]:
    """A port that is scraped, and the series that it has as long as they are in the set."""
    left = set(series)

    def give(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write("".join(f"{each} 1\n" for each in sorted(left)).encode())

    methods = {"do_GET": give, "log_message": lambda *_: None}
    handler = type("Handler", (BaseHTTPRequestHandler,), methods)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, left
        finally:
            server.shutdown()
            thread.join()


async def test_a_soak_tells_of_a_series_that_is_missing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever only looks at the end of a soak does not see what was gone in between."""
    wanted = {"kept", "lost"}
    for module in (prometheus.__module__, Seen.__module__):
        monkeypatch.setattr(f"{module}.expressions", lambda: wanted)
    site: Any = SimpleNamespace(database_url=database_url)
    with exporting(*wanted) as (port, left), prometheus(tmp_path, port) as watching:
        seen = Seen(watching, port)

        async def gaps() -> list[str]:
            seen.end()
            return [each for each in await seen.problems() if each.startswith("no series")]

        async def looks(number: int) -> bool:
            assert not await gaps()
            return f", {number} looks" in str(seen)

        async def there() -> list[Any]:
            return await watching.series("lost")

        await seen.begin(site)
        await eventually(lambda: looks(3))
        left.remove("lost")
        await eventually(gaps)
        left.add("lost")
        await eventually(there)
        (gap,) = await gaps()
        assert gap.endswith(" s: lost")
