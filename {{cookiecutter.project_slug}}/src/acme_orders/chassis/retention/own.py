"""The policies of the tables that every service has."""

from collections.abc import Iterator
from datetime import timedelta

from acme_orders.chassis.retention.policy import Keep, Retention, Rule
from acme_orders.chassis.retention.settings import RetentionSettings


def own_rules(settings: RetentionSettings, *, window: float) -> Iterator[Rule]:
    """What is kept of what the chassis writes.

    Args:
        settings: that say how long.
        window: seconds after which the inbox refuses a message that it does not know.
    """

    def seconds(number: float) -> timedelta:
        return timedelta(seconds=number)

    yield Retention("inbox", "processed_at", seconds(window + settings.inbox_margin))
    # feature: http_api {
    age = seconds(window + settings.inbox_margin)
    yield Retention("idempotency_keys", "created_at", age)
    # feature: http_api }
    # One that waits for a decision has no time of it, and stays.
    yield Retention("dead_letters", "decided_at", seconds(settings.dead_letters_retention))
    if settings.dead_letters_waiting_retention is not None:
        yield Retention(
            "dead_letters",
            "archived_at",
            seconds(settings.dead_letters_waiting_retention),
            only={"state": "waiting"},
            name="dead_letters_waiting",
        )
    yield Retention("backfill_event", "at", seconds(settings.runs_retention))
    yield Retention("retention_run", "started_at", seconds(settings.runs_retention))
    yield Keep("outbox", "the relay deletes what it has published")
    yield Keep("erasure_request", "after a restore they are carried out again")
    yield Keep("legal_hold", "one row for each, which says who was held, by whom and why")
    yield Keep("parked_types", "one row for each type of events, and none when it is heard")
    yield Keep("backfill_run", "one row for each backfill, which migrations rely on")
