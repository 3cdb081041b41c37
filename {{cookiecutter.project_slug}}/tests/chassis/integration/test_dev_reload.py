"""`make dev` starts the service again with every change of its code, and no message pays for it."""

import asyncio
import json
import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import aio_pika
import psutil
import pytest

from dev.reload import QUIET_MS
from tests.chassis.conftest import eventually as eventually_async
from tests.chassis.integration.test_dev_servers import NO_RABBITMQ, ask, eventually, left
from tests.chassis.place import SERVICE, Place, place
from tests.chassis.slices.sales.messages import SALE_BOOKED, SALE_MADE, SaleMade

__all__ = ["place"]

READY = "service.ready"
AGAIN = "the service is started again"
PAUSE = 0.02  # seconds between two messages
SOON = 30.0  # seconds from a save to its effect; it takes 1.5 on a machine that has time for it


class Terminal:
    """`make dev`, what it has said, and when."""

    def __init__(self, place: Place, **variables: str) -> None:
        self._keyboard, screen = pty.openpty()
        self._place, self._saves = place, 0
        self.process = place.terminal(
            "-m", "dev.start", screen=screen, variables={**SERVICE, **variables}
        )
        os.close(screen)
        self.lines = list[tuple[float, str]]()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for(READY, within=120)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as said:
            for line in said:
                self.lines.append((time.monotonic(), line))

    def count(self, text: str) -> int:
        """How many lines have it."""
        return sum(text in line for _, line in self.lines)

    def wait_for(self, text: str, times: int = 1, *, within: float = 60) -> None:
        """Return when so many lines have it."""
        try:
            eventually(lambda: self.count(text) >= times, within=within)
        except AssertionError:
            raise AssertionError("".join(line for _, line in self.lines)) from None

    def press_enter(self) -> None:
        """As somebody who sits there."""
        os.write(self._keyboard, b"\n")

    def save(self, code: str = "") -> None:
        """Save other code than before."""
        self._saves += 1
        text = "from tests.chassis.service import SERVICE as SERVICE\n"
        self._place.service.write_text(f"{text}{code}\n# {self._saves}\n")

    def reload(self) -> float:
        """Save, and return the seconds until the new code runs."""
        ready, began = self.count(READY), time.monotonic()
        self.save()
        self.wait_for(READY, ready + 1)
        return next(at for at, line in reversed(self.lines) if READY in line) - began

    def close(self) -> None:
        """Press Ctrl-C, unless it has ended."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        self._reader.join()
        if self.process.stdout:
            self.process.stdout.close()
        os.close(self._keyboard)


@contextmanager
def terminal(place: Place, **variables: str) -> Iterator[Terminal]:
    """One that is closed at the end."""
    opened = Terminal(place, **variables)
    try:
        yield opened
    finally:
        opened.close()


def test_what_is_saved_runs_or_says_why_not(place: Place) -> None:
    """A burst is one change, a mistake waits for the next save, a migration for Enter."""
    with terminal(place, **NO_RABBITMQ) as dev:
        dev.save("import nothing_of_that_name")
        dev.wait_for("No module named 'nothing_of_that_name'")
        dev.wait_for("The service has ended with status 1.")

        gaps, last = 0, time.monotonic()
        for number in range(20):
            (place.service.parent / f"more_{number}.py").write_text("")
            time.sleep(0.02)  # an editor that saves one file after another
            gaps += time.monotonic() - last > QUIET_MS / 1000 / 2  # a machine that was busy
            last = time.monotonic()
        dev.save()
        dev.wait_for(READY, 2)
        # The mistake, the burst, and its last file if that was late.
        assert dev.count(AGAIN) <= 3 + gaps

        new = place.folder / "migrations/0999_late.up.sql"
        new.with_name("0999_late.down.sql").write_text("DROP TABLE late;\n")
        new.write_text("CREATE TABLE late (id int PRIMARY KEY);\n")
        dev.wait_for("Enter migrates")
        assert dev.count("0999_late applied") == 0
        dev.press_enter()
        dev.wait_for(READY, 3)

        service = psutil.Process(dev.process.pid).children(recursive=True)
        dev.process.kill()
        eventually(lambda: not left(service), within=30)

    url = place.start()["DATABASE_URL"]
    assert ask(url, "select count(*) from late") == "0"


@pytest.mark.parametrize("reloads", [3, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
async def test_no_message_pays_for_a_reload(place: Place, reloads: int) -> None:
    """Under load, each is processed once, and its event is heard once."""
    with terminal(place, PATH=os.environ["PATH"]) as dev:
        url = place.start()["BROKER_URL"]
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange("events")
            queue = await channel.declare_queue("heard", durable=True)
            await queue.bind(exchange, SALE_BOOKED)
            heard = list[tuple[str | None, str]]()

            async def hear(event: aio_pika.abc.AbstractIncomingMessage) -> None:
                heard.append((event.message_id, json.loads(event.body)["sale_id"]))

            await queue.consume(hear, no_ack=True)
            done, sent = asyncio.Event(), list[str]()
            load = asyncio.create_task(_load(exchange, sent, done))
            times = [await asyncio.to_thread(dev.reload) for _ in range(reloads)]
            done.set()
            await load
            # What a stop has cut off may wait on the retry ladder for some minutes.
            await eventually_async(lambda: {sale for _, sale in heard} >= set(sent), within=600)

        times.sort()
        middle, worst = times[len(times) // 2], times[-1]
        told = f"save to effect {middle:.2f} s, at most {worst:.2f} s, {len(sent)} messages"
        sys.stderr.write(f"{reloads} reloads: {told}\n")
        assert sorted(sale for _, sale in set(heard)) == sorted(sent)
        database = place.start()["DATABASE_URL"]
        assert ask(database, "select count(*) from sales") == str(len(sent))
        eventually(lambda: ask(database, "select count(*) from outbox") == "0")  # once confirmed
        assert ask(database, "select count(*) from dead_letters") == "0"
        assert dev.count("nobody is bound") == 0
        assert dev.count(f"published            {SALE_BOOKED}") > 0
        assert middle < SOON, told


async def _load(
    exchange: aio_pika.abc.AbstractExchange, sent: list[str], done: asyncio.Event
) -> None:
    while not done.is_set():
        sale = str(uuid4())
        message = aio_pika.Message(
            json.dumps({**SaleMade.example(), "sale_id": sale}).encode(),
            message_id=str(uuid4()),
            type=SALE_MADE,
            app_id="test",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers={"tenant": "00000000-0000-0000-0000-000000000001"},  # feature: row, rls, schema
        )
        await exchange.publish(message, SALE_MADE)
        sent.append(sale)
        await asyncio.sleep(PAUSE)
