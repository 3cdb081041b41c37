"""A failure that concerns every message is told a few times and counted; nothing else is lost."""

import time
from collections import Counter
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from acme_orders.chassis.observability.limiter import SUPPRESSED, Limiter

BURST, INTERVAL = 10, 1.0


class Log:
    """What passes a limiter, by a clock that only a test moves."""

    def __init__(self) -> None:
        self.now, self.lines, self.uncounted = 0.0, list[dict[str, Any]](), 0
        self.limiter = Limiter(
            burst=BURST, interval=INTERVAL, on_suppressed=self.count, clock=lambda: self.now
        )

    def count(self) -> None:
        """One more is not shown."""
        self.uncounted += 1

    def told(self, event: str) -> int:
        """How often it happened, as far as the lines say."""
        shown: list[dict[str, Any]] = [each for each in self.lines if each["event"] == event]
        later = [each for each in self.lines if each.get("of") == event]
        return len(shown) + sum(int(each.get("suppressed", 0)) for each in (*shown, *later))

    def __call__(self, _: object, level: str, event: MutableMapping[str, Any]) -> Any:
        """As structlog calls its processors."""
        passed = self.limiter(None, level, event)
        self.lines.append({"level": level, **passed})
        raise structlog.DropEvent


@pytest.fixture
def log() -> Iterator[Log]:
    """Structlog with nothing but a limiter."""
    found = Log()
    structlog.configure(processors=[found], wrapper_class=structlog.make_filtering_bound_logger(0))
    yield found
    found.limiter.tell()  # else its thread asks this clock, which stands still, for ever


def test_a_failure_of_each_message_writes_a_few_dozen_lines(log: Log) -> None:
    """200 a second for 30 seconds; how many there were is told exactly."""
    for number in range(6000):
        log.now = number / 200
        structlog.get_logger().warning(
            "message.failed", message_id=f"id-{number}", type="sale.made", error="ValueError"
        )
    log.limiter.tell()
    assert 10 < len(log.lines) < 60
    assert log.told("message.failed") == 6000
    assert log.uncounted == 6000 - len([x for x in log.lines if x["event"] == "message.failed"])


def test_a_normal_rate_is_untouched(log: Log) -> None:
    """One a second, for as long as it likes."""
    for number in range(500):
        log.now = number
        structlog.get_logger().warning("message.failed", type="sale.made", error="ValueError")
    assert len(log.lines) == 500
    assert not any("suppressed" in line for line in log.lines)


def test_the_first_lines_come_whole_and_the_others_without_the_traceback(log: Log) -> None:
    """It has been shown ten times by then."""
    for number in range(400):
        log.now = number / 100
        try:
            int("x")
        except ValueError:
            structlog.get_logger().warning("message.failed", exc_info=True)
    whole = ["exc_info" in line for line in log.lines]
    assert whole == [True] * BURST + [False] * (len(whole) - BURST)
    assert all(line["suppressed"] > 0 for line in log.lines[BURST:])


@pytest.mark.parametrize(
    "causes",
    [
        [{"type": "sale.made"}, {"type": "sale.cancelled"}],
        [{"error": "ValueError"}, {"error": "KeyError"}],
        [{"query": "sales.page"}, {"query": "sales.add"}],
        [{"reason": "malformed"}, {"reason": "refused"}],
        [{"sqlstate": "23505"}, {"sqlstate": "23503"}],
        [{"why": 'constraint "a" is violated'}, {"why": 'constraint "b" is violated'}],
        [{"queue": "main"}, {"queue": "retry"}],
    ],
)
def test_causes_are_told_apart(log: Log, causes: list[dict[str, str]]) -> None:
    """A flood of one must not hide another."""
    for number in range(1000):
        log.now = number / 1000
        structlog.get_logger().warning("message.failed", **causes[number >= 990])
    rare = [line for line in log.lines if causes[1].items() <= line.items()]
    assert len(rare) == BURST


def test_two_mistakes_of_one_class_are_two_causes(log: Log) -> None:
    """They are raised at different places."""

    def one() -> None:
        raise ValueError("same text")

    def other() -> None:
        raise ValueError("same text")

    for number in range(1000):
        try:
            one() if number < 990 else other()
        except ValueError:
            structlog.get_logger().warning("message.failed", exc_info=True)
    assert len(log.lines) == 2 * BURST


def test_ids_and_times_in_a_text_are_no_other_cause(log: Log) -> None:
    """They differ every time."""
    for number in range(1000):
        why = f"sale 0e0f-{number} of 2026-01-{number % 28 + 1:02} is late by {number} s"
        structlog.get_logger().warning("message.failed", why=why)
    assert len(log.lines) == BURST


def test_texts_from_outside_are_bounded(log: Log) -> None:
    """300 types that nobody knows, and values in error texts: neither lines nor memory grow."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number in range(6000):
        log.now = number / 200
        name = letters[number % 26] + letters[number // 26 % 26] + letters[number // 676]
        structlog.get_logger().error("message.dead_lettered", type=name, why=f"no handler {name}")
    log.limiter.tell()
    assert len(log.lines) < 100
    assert log.told("message.dead_lettered") == 6000


def test_event_names_are_bounded(log: Log) -> None:
    """Somebody may write f-strings."""
    names = [f"{first}{second}" for first in "abcdefghijklmnop" for second in "abcdefghijklmnop"]
    for round_ in range(100):
        log.now = round_ / 100
        for name in names:
            structlog.get_logger().info(f"{name} happened")
    log.limiter.tell()
    assert len(log.lines) < 256 * BURST
    assert sum(1 + line.get("suppressed", 0) for line in log.lines if "of" not in line) + sum(
        line["suppressed"] for line in log.lines if "of" in line
    ) == 100 * len(names)


def test_what_has_ended_is_told_soon(log: Log) -> None:
    """Without another line of its kind, by a thread."""
    log.limiter = Limiter(burst=1, interval=0.05, on_suppressed=log.count, clock=lambda: log.now)
    for _ in range(50):  # at one moment, however long it takes
        structlog.get_logger().warning("message.failed", type="sale.made")
    log.now = 1.0
    deadline = time.monotonic() + 10
    while log.told("message.failed") < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.told("message.failed") == 50
    (last,) = [line for line in log.lines if line["event"] == SUPPRESSED]
    assert (last["of"], last["type"]) == ("message.failed", "sale.made")
    assert last["level"] == "warning"


def test_threads_lose_no_line(log: Log) -> None:
    """Each is shown or counted."""

    def shout(number: int) -> None:
        structlog.get_logger().warning("message.failed", queue="ab"[number % 2])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shout, range(4000)))
    log.limiter.tell()
    assert log.told("message.failed") == 4000
    counted = Counter(line.get("queue") for line in log.lines)
    assert counted["a"] >= BURST
