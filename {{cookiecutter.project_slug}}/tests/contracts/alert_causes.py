"""For each alert what makes it fire, beside values that must not; a new alert needs a row here.

All is well for some minutes, then the cause begins. The quiet value lies just below a threshold and
the loud one just above it, so that the threshold cannot move unseen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

WELL, BAD = 16, 65  # minutes
Values = tuple[str, str]  # all well, and with the cause, as promtool writes series


def gauge(quiet: float, loud: float) -> Values:
    """A number that stands at one value, then at another."""
    return f"{quiet}x{WELL + BAD}", f"{quiet}x{WELL} {loud}x{BAD}"


def counter(quiet: float, loud: float) -> Values:
    """A number that grows by so much in each minute, then by so much."""
    return f"0+{quiet}x{WELL + BAD}", f"0+{quiet}x{WELL} {quiet * WELL + loud}+{loud}x{BAD}"


def once() -> Values:
    """A counter that had counted nothing; one event is enough."""
    return gauge(0, 1)


def first() -> Values:
    """A counter that has no series before its first event."""
    return "", f"_x{WELL + 1} 1x{BAD}"


def ends(value: str) -> Values:
    """A series that somebody stops to give."""
    return f"{value}x{WELL + BAD}", f"{value}x{WELL} stale"


@dataclass(frozen=True)
class Cause:
    """What makes an alert fire.

    Args:
        alert: its name.
        after: minutes of the cause until it fires: its `for`, and for a rate some of its range.
        series: by name and labels; the job is added.
        also: alerts that rightly fire with it.
    """

    alert: str
    after: int
    series: Mapping[str, Values]
    also: set[str] = field(default_factory=set)


def share(name: str, labels: str, bad: str, quiet: float, loud: float) -> Mapping[str, Values]:
    """Two counters; of 100 in a minute so many are bad."""
    return {
        f"{name}{{{labels}, {bad}}}": counter(quiet, loud),
        f"{name}{{{labels}}}": counter(100 - quiet, 100 - loud),
    }


def slower(name: str, labels: str) -> Mapping[str, Values]:
    """A histogram; of 1000 in a minute 9 take longer than a second, then 11."""
    return {
        f"{name}_bucket{{{labels}, le='1'}}": counter(991, 989),
        f"{name}_bucket{{{labels}, le='5'}}": counter(1000, 1000),
        f"{name}_bucket{{{labels}, le='+Inf'}}": counter(1000, 1000),
    }


BEAT, BEATS = "part_heartbeat_timestamp_seconds{part='%s', instance='a'}", "0+60"
ERRORS = "db_client_errors_total{query='a', sqlstate_class='23'}"
RUNS = "db_client_operation_duration_seconds_count{query='a'}"
TENANT = "db_guard_violations_total{kind='tenant'}"  # feature: row, rls, schema
CAUSES = [
    Cause("ServiceAbsent", 2, {"messages_in_flight": ends("0")}),
    Cause("ConsumerMissing", 5, {"queue_consumers{queue='main'}": gauge(1, 0)}),
    Cause("ConsumerMissing", 5, {BEAT % "consumer": ends(BEATS)}),
    Cause("RelayMissing", 5, {BEAT % "relay": ends(BEATS)}),
    Cause("PartSilent", 4, {BEAT % "consumer": counter(60, 0)}),
    Cause("ConsumerPaused", 2, {"consumer_paused{reason='outage'}": gauge(0, 1)}),
    Cause("MostMessagesFail", 0, {"consumer_paused{reason='failures'}": gauge(0, 1)}),
    Cause("BrokerDisconnected", 2, {"broker_connected{instance='a', role='in'}": gauge(1, 0)}),
    Cause("TopologyDiffers", 1, {"topology_problems{kind='loses'}": gauge(0, 1)}),
    Cause("TopologyRestored", 0, {"topology_restored_total{name='main'}": once()}),
    Cause("TopologyRestored", 0, {"topology_restored_total{name='other'}": first()}),
    Cause("ConsumerStalled", 1, {"consumer_stalls_total{queue='main'}": counter(0, 1)}),
    Cause("MessagesSuspected", 0, {"suspects_total": once()}),
    Cause("MessagesSuspected", 0, {"suspects_total{instance='new'}": first()}),
    Cause("OutboxStuck", 2, {"outbox_oldest_seconds": gauge(59, 61)}),
    Cause("RelayPaused", 2, {"relay_paused{part='publish'}": gauge(0, 1)}),
    Cause("RelayPaused", 2, {"relay_paused{part='probe'}": gauge(0, 1)}),
    Cause(
        "ListenerMissing", 1, {"outbox_parked_types{reason='unheard', needed='yes'}": gauge(0, 1)}
    ),
    Cause("EventsRefused", 2, {"outbox_parked_types{reason='refused'}": gauge(0, 1)}),
    Cause("EventsRefused", 2, {"outbox_parked_types{reason='unconfirmed'}": gauge(0, 1)}),
    Cause("EventsSetAside", 0, {"outbox_set_aside_total{type='a'}": once()}),
    Cause("EventsSetAside", 0, {"outbox_set_aside_total{type='b'}": first()}),
    Cause("MessagesDeadLettered", 0, {"dead_letters_total{reason='a'}": once()}),
    Cause("MessagesDeadLettered", 0, {"dead_letters_total{reason='b'}": first()}),
    Cause("DeadLettersWaiting", 5, {"dead_letters_oldest_seconds": gauge(86399, 86401)}),
    Cause(
        "MessagesFailing",
        15,
        share("messages_processed_total", "type='a'", "outcome='retried'", 4, 6),
    ),
    Cause("PartsRestarted", 0, {"part_restarts_total{part='a'}": once()}),
    Cause("PartsRestarted", 0, {"part_restarts_total{part='b'}": first()}),
    Cause("EventLoopBlocked", 0, {"event_loop_blocked_total{instance='a'}": once()}),
    Cause("EventLoopBlocked", 0, {"event_loop_blocked_total{instance='b'}": first()}),
    Cause("LogLinesDropped", 0, {"log_lines_dropped_total{instance='a'}": once()}),
    Cause("LogLinesDropped", 0, {"log_lines_dropped_total{instance='b'}": first()}),
    Cause("ClientsRefused", 7, {"http_refused_total{reason='clients'}": counter(59, 61)}),
    Cause("ClientsRefused", 7, {"http_refused_total{reason='busy'}": counter(59, 61)}),
    # feature: http_api {
    Cause(
        "ApiFailing",
        7,
        share("http_requests_total", "port='api', route='GET /a'", "status='5xx'", 4, 6),
    ),
    Cause("ApiSlow", 12, slower("http_request_duration_seconds", "port='api', route='GET /a'")),
    # feature: http_api }
    Cause("ConnectionsExhausted", 5, {"db_client_connection_timeouts_total": counter(0, 1)}),
    Cause(
        "ConnectionsScarce",
        5,
        {
            "db_client_connections{state='used', instance='a'}": gauge(9, 9.1),
            "db_client_connections_max{instance='a'}": gauge(10, 10),
        },
    ),
    Cause(
        "ConnectionsDropped",
        19,
        {"db_client_connections_closed_total{reason='broken'}": counter(0.9, 1.1)},
    ),
    Cause("StatementsFailing", 15, {ERRORS: counter(4, 6), RUNS: counter(100, 100)}),
    Cause("StatementsSlow", 20, slower("db_client_operation_duration_seconds", "query='b'")),
    Cause("StatementsRepeated", 10, {"db_repeated_statements_total{query='a'}": counter(0, 1)}),
    Cause("RowsUnreadable", 0, {"db_unreadable_rows_total{query='a'}": once()}),
    Cause("RowsUnreadable", 0, {"db_unreadable_rows_total{query='b'}": first()}),
    Cause(
        "ConflictsExhausted",
        0,
        {"db_transaction_retries_exhausted_total{unit_of_work='a'}": once()},
    ),
    Cause(
        "ConflictsExhausted",
        0,
        {"db_transaction_retries_exhausted_total{unit_of_work='b'}": first()},
    ),
    Cause("BackfillStandsStill", 5, {"backfill_still_seconds{backfill='a'}": gauge(1799, 1801)}),
    Cause("ErasureOverdue", 5, {"erasure_overdue_seconds": gauge(0, 1)}),
    Cause("RetentionOverdue", 60, {"retention_overdue_seconds{policy='a'}": gauge(0, 1)}),
    Cause(
        "RetentionFindings", 60, {"retention_findings{policy='a', kind='orphaned'}": gauge(0, 1)}
    ),
    Cause(
        "MigrationDidNotEnd",
        60,
        {"db_migration_duration_seconds_count{direction='up', outcome='failed'}": gauge(0, 1)},
    ),
    Cause("ForbiddenUse", 0, {"db_guard_violations_total{kind='misused'}": once()}),
    Cause("ForbiddenUse", 0, {"db_guard_violations_total{kind='child_task'}": first()}),
    # feature: row, rls, schema {
    Cause("TenantViolation", 0, {TENANT: once()}, also={"ForbiddenUse"}),
    Cause(
        "TenantViolation",
        0,
        {TENANT.replace("}", ", instance='new'}"): first()},
        also={"ForbiddenUse"},
    ),
    # feature: row, rls, schema }
]
