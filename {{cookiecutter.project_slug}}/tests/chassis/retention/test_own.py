"""The tables of every service: what is kept, and for how long."""

import asyncio
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.retention.own import own_rules
from acme_orders.chassis.retention.policy import Keep, Retention, gathered
from acme_orders.chassis.retention.runner import Runner
from acme_orders.chassis.retention.settings import RetentionSettings

from readiness.scratch import rows_of
from tests.chassis.conftest import Connect, consuming, eventually, home, send, settled, sold
from tests.chassis.retention.papers import QUICK

ENDED = """
SELECT state, deleted ->> 'backfill_event' FROM retention_run
WHERE policy = 'backfill_event' ORDER BY started_at LIMIT 1
"""
MADE = re.compile(r"CREATE TABLE (\w+)")


def passed(service: Service, **changes: Any) -> dict[str, str]:
    """One pass of all that the chassis keeps; how each policy has ended."""
    settings = service.settings.model_copy(update=changes)
    rules = own_rules(settings, window=settings.inbox_retention)
    policies = [each for each in rules if isinstance(each, Retention)]
    with closing(Runner(settings.database_url, policies, limits=QUICK).run()) as steps:
        return {each.policy: f"{each.state}{each.why}" for each in steps if each.state}


def deleted(service: Service, policy: str) -> float:
    """How many rows the metrics tell of."""
    name = "retention_rows_deleted_total"
    return service.metrics.registry.get_sample_value(name, {"policy": policy}) or 0


def timed(message: Message, at: datetime) -> Message:
    """The same message, sent at this time."""
    return replace(message, headers={**message.headers, "cloudEvents:time": at.isoformat()})


async def test_a_message_is_forgotten_only_when_it_would_be_refused(connect: Connect) -> None:
    """At the edge: what comes back is a duplicate, or beyond the window, and never processed again.

    The inbox says of each message when it was processed; here it says that this was earlier.
    """
    window, margin = 7200.0, 300.0
    async with connect() as service:
        settings = {"inbox_retention": window, "inbox_margin": margin}
        now = datetime.now(UTC)
        ages = [0.0, window - 60, window + margin - 60, window + margin + 60]
        messages = [timed(sold(), now - timedelta(seconds=each)) for each in ages]
        async with consuming(service):
            await send(service, *messages)
            await eventually(lambda: settled(service, "done") == len(ages))
        url = service.settings.database_url
    places = [place for (place,) in rows_of(url, INBOXES)]
    for message, age in zip(messages, ages, strict=True):
        for place in places:
            rows_of(
                url,
                f"UPDATE {place}.inbox SET processed_at = now() - make_interval(secs => %s) "
                "WHERE id = %s",
                (age, message.message_id),
            )
    async with connect(**settings) as service:
        assert set(passed(service).values()) == {"ok"}
        left = sum(rows_of(url, f"SELECT count(*) FROM {place}.inbox")[0][0] for place in places)
        assert left == 3
        async with consuming(service):
            await send(service, *messages)
            await eventually(lambda: settled(service, "duplicate") == 3)
            await eventually(lambda: settled(service, "dead_lettered") == 1)
        assert settled(service, "done") == 0


async def test_a_clock_that_is_ahead_makes_no_message_come_twice(connect: Connect) -> None:
    """It is refused later than others are, by its own time, and so it is remembered for longer.

    Time goes by for the row and for the message alike.
    """
    window, margin, ahead = 7200.0, 300.0, timedelta(hours=3)
    passing = timedelta(seconds=window + margin + 60)
    settings = {"inbox_retention": window, "inbox_margin": margin}
    message = timed(sold(), datetime.now(UTC) + ahead)
    async with connect(**settings) as service, consuming(service):
        await send(service, message, sold())
        await eventually(lambda: settled(service, "done") == 2)
        url = service.settings.database_url
    for (place,) in rows_of(url, INBOXES):
        rows_of(url, f"UPDATE {place}.inbox SET processed_at = processed_at - %s", (passing,))
    async with connect(**settings) as service:
        assert set(passed(service).values()) == {"ok"}
        async with consuming(service):
            await send(service, timed(message, datetime.now(UTC) + ahead - passing))
            await eventually(lambda: settled(service, "duplicate") + settled(service, "done") == 1)
        assert settled(service, "done") == 0


INBOXES = """
SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'inbox' AND relkind = 'r'
"""


async def test_dead_letters_that_wait_stay(connect: Connect) -> None:
    """Unless a setting says otherwise; those that somebody decided about go when they are old."""
    async with connect() as service:
        rows = service.settings.database_url
        for state, decided in (("waiting", None), ("replayed", "40 days"), ("discarded", "1 day")):
            rows_of(
                rows,
                "INSERT INTO dead_letters (id, reason, body, body_bytes, failed_at, archived_at, "
                "state, decided_at) VALUES (gen_random_uuid(), 'x', '', 0, now(), "
                "now() - interval '900 days', %s, now() - %s::interval)",
                (state, decided),
            )
        assert set(passed(service, dead_letters_retention=30 * 86400.0).values()) == {"ok"}
        left = rows_of(rows, "SELECT state FROM dead_letters ORDER BY 1")
        assert left == [("discarded",), ("waiting",)]
        ended = passed(service, dead_letters_waiting_retention=30 * 86400.0)
        assert ended["dead_letters_waiting"] == "ok"
        assert rows_of(rows, "SELECT state FROM dead_letters") == [("discarded",)]


async def test_a_part_of_the_process_does_it(connect: Connect) -> None:
    """What is due goes without anybody's asking; the metrics tell it, and whether it is late."""
    async with connect(retention_interval=0.2) as service:
        url = service.settings.database_url
        event = "INSERT INTO backfill_event (name, place, what, at) VALUES ('x', 'public', 'x', %s)"
        rows_of(url, event, (datetime(2001, 1, 1, tzinfo=UTC),))
        rows_of(url, "UPDATE schema_migrations SET applied_at = now() - interval '1 hour'")
        labels, overdue = {"policy": "backfill_event"}, "retention_overdue_seconds"
        service.retention_report.read()
        late = service.metrics.registry.get_sample_value(overdue, labels) or 0
        assert 3500 < late < 3700
        stop = asyncio.Event()
        part = asyncio.create_task(service.delete(stop))
        await eventually(lambda: deleted(service, "backfill_event") == 1)
        stop.set()
        await part
        await service.retention_report.update()
        assert (service.metrics.registry.get_sample_value(overdue, labels) or 0) < 60
        ((state, count),) = set(rows_of(url, ENDED))
        assert (state, count) == ("ok", "1")


async def test_events_of_backfills_go(connect: Connect) -> None:
    """Whoever migrates writes them, and the service may delete them."""
    async with connect() as service:
        url = service.settings.database_url
        for days in (500, 1):
            rows_of(
                url,
                "INSERT INTO backfill_event (name, place, what, at) VALUES "
                "('fill', 'public', 'started', now() - make_interval(days => %s))",
                (days,),
            )
        assert passed(service)["backfill_event"] == "ok"
        assert rows_of(url, "SELECT count(*) FROM backfill_event") == [(1,)]


def test_each_table_of_the_chassis_has_a_rule() -> None:
    """A new one that nobody thought of is found here."""
    folder = home() / "migrations"
    files = [*folder.glob("chassis/*.up.sql"), *folder.glob("000[1-4]_*.up.sql")]
    made = {name for file in files for name in MADE.findall(file.read_text("utf-8"))}
    assert made - {"tenants"} == {
        str(each.table) for each in own_rules(RetentionSettings(), window=1)
    }


def test_a_table_has_the_rules_of_one_owner() -> None:
    """No slice shortens what the chassis needs."""
    own = tuple(own_rules(RetentionSettings(), window=1))
    short = Retention("inbox", "processed_at", timedelta(seconds=1), name="mine")
    with pytest.raises(ConfigurationError, match="sales has a rule of retention for inbox, and so"):
        gathered([("the chassis", own), ("sales", [short])])
    with pytest.raises(ConfigurationError, match="sales has a rule"):
        gathered([("sales", [short, short])])
    with pytest.raises(ConfigurationError, match="say for how long"):
        Retention("inbox", "processed_at", timedelta())
    with pytest.raises(ConfigurationError, match="has no reason"):
        Keep("inbox", " ")
