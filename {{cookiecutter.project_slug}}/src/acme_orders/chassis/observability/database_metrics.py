"""Metrics of the database."""

from acme_orders.chassis.observability.families import FAST, SLOW, Families

KINDS = (
    *("serialization", "deadlock", "lock", "timeout", "constraint", "connection"),
    *("misused", "no_transaction", "other"),
)
CLOSED = ("broken", "cancelled", "dead", "expired", "in_transaction")
GUARDS = (
    "no_transaction",
    "session_state",
    "child_task",
    "tenant",  # feature: row, rls, schema
)


class DatabaseMetrics(Families):
    """Statements, connections, transactions, migrations, backfills, retention and erasure."""

    def __init__(self) -> None:
        super().__init__()

        self.db_operation_duration = self.histogram(
            "db_client_operation_duration_seconds",
            "Time of one statement as the client sees it",
            {"query": "queries", "outcome": ("ok",)},
            buckets=FAST,
        )
        self.db_errors = self.counter(
            "db_client_errors",
            "Failed statements by kind of error",
            {"query": "queries", "kind": KINDS},
        )
        self.db_connections = self.gauge(
            "db_client_connections", "Open connections, by state: idle, used", {"state": None}
        )
        self.db_connections_max = self.gauge("db_client_connections_max", "Size of the pool")
        self.db_connections_pending = self.gauge(
            "db_client_connections_pending_requests", "Waiting for a connection"
        )
        self.db_connection_wait = self.histogram(
            "db_client_connection_wait_time_seconds", "Time waited for a connection", buckets=FAST
        )
        self.db_connection_use = self.histogram(
            "db_client_connection_use_time_seconds", "Time a connection was held", buckets=FAST
        )
        self.db_connection_create = self.histogram(
            "db_client_connection_create_time_seconds", "Time to open a connection", buckets=FAST
        )
        self.db_connection_timeouts = self.counter(
            "db_client_connection_timeouts", "Waits that ended without one"
        )
        self.db_connections_closed = self.counter(
            "db_client_connections_closed",
            "Connections closed, by reason: broken, cancelled, dead, expired, in_transaction",
            {"reason": CLOSED},
        )
        self.db_transaction_duration = self.histogram(
            "db_transaction_duration_seconds",
            "Length of a transaction",
            {"unit_of_work": None, "outcome": None},
            buckets=FAST,
        )
        self.db_transaction_retries = self.counter(
            "db_transaction_retries",
            "Units of work run again after a conflict: serialization, deadlock, lock",
            {"unit_of_work": "retried", "reason": KINDS[:3]},
        )
        self.db_transaction_retries_exhausted = self.counter(
            "db_transaction_retries_exhausted",
            "Units of work given up after conflicts",
            {"unit_of_work": "retried"},
        )
        self.db_slow_statements = self.counter(
            "db_slow_statements", "Statements slower than SLOW_STATEMENT", {"query": "queries"}
        )
        self.db_repeated_statements = self.counter(
            "db_repeated_statements",
            "Units of work that repeated a statement needlessly",
            {"query": "queries"},
        )
        self.db_rows_already_there = self.counter(
            "db_rows_already_there",
            "Rows left out of an insert because their key was there",
            {"query": "queries"},
        )
        self.db_unreadable_rows = self.counter(
            "db_unreadable_rows",
            "Rows found with a value that has no form in Python",
            {"query": "queries"},
        )
        self.db_guard_violations = self.counter(
            "db_guard_violations",
            "Uses of the database that break its rules, by kind",
            {"kind": GUARDS},
        )
        self.db_migration_duration = self.histogram_of_rows(
            "db_migration_duration_seconds",
            "Length of each migration of the history, by outcome: ok, failed, running (so far)",
            ["direction", "outcome"],
            buckets=SLOW,
        )

        # Backfills
        self.backfill_state = self.gauge(
            "backfill_state",
            "1 for the state of a backfill: pending, running, paused, throttled, failed, "
            "completed, cancelled",
            {"backfill": None, "state": None},
        )
        self.backfill_rows_done = self.gauge(
            "backfill_rows_done", "Rows that a backfill has gone through", {"backfill": None}
        )
        self.backfill_rows = self.gauge(
            "backfill_rows",
            "Rows that it is to go through, as PostgreSQL estimated",
            {"backfill": None},
        )
        self.backfill_still = self.gauge(
            "backfill_still_seconds",
            "Time since a backfill moved, while nobody has paused, cancelled or completed it",
            {"backfill": None},
        )
        self.backfill_silent = self.gauge(
            "backfill_silent_seconds",
            "Time since its runner gave a sign of life",
            {"backfill": None},
        )

        # Retention
        self.retention_rows_deleted = self.counter(
            "retention_rows_deleted",
            "Rows of the table of a policy that this process deleted because they were old",
            {"policy": "policies"},
        )
        self.retention_overdue = self.gauge(
            "retention_overdue_seconds",
            "Time since a pass of a policy should have ended well: two RETENTION_INTERVAL",
            {"policy": "policies"},
        )
        self.retention_findings = self.gauge(
            "retention_findings",
            "Rows that are expired or orphaned, and policies that are overdue, were never run, "
            "cannot be, or could not be looked at",
            {"policy": "policies", "kind": "findings"},
        )
        self.erasure_oldest = self.gauge(
            "erasure_oldest_seconds", "Age of the oldest request to be erased that is open"
        )
        self.erasure_overdue = self.gauge(
            "erasure_overdue_seconds",
            "Time since a request to be erased that is open, and not on legal hold, was due",
        )
