"""Every metric of the service, in one place. Dashboards, alerts and the readiness checks use these.

No label ever holds a tenant, an id, SQL or a text from outside: each series costs memory for ever.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from acme_orders.chassis.observability.rows import HistogramOfRows

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        # Messages
        self.messages_received = Counter(
            "messages_received", "Deliveries taken from the queue", ["queue"], registry=registry
        )
        self.messages_processed = Counter(
            "messages_processed",
            "Messages settled, by outcome: done, duplicate, retried, dead_lettered, suspected, "
            "put_back",
            ["type", "outcome"],
            registry=registry,
        )
        self.message_retries = Counter(
            "message_retries", "Copies sent to a retry queue", ["queue"], registry=registry
        )
        self.dead_letters = Counter(
            "dead_letters", "Messages sent to the dead-letter queue", ["reason"], registry=registry
        )
        self.acks_lost = Counter(
            "acks_lost", "Acks that found their channel closed; the inbox drops the redelivery",
            registry=registry,
        )  # fmt: skip
        self.late_acks = Counter(
            "late_acks", "Redeliveries after a lost ack that were recognised without PostgreSQL",
            registry=registry,
        )  # fmt: skip
        self.messages_returned = Counter(
            "messages_returned", "Deliveries of messages that were delivered before", ["queue"],
            registry=registry,
        )  # fmt: skip
        self.suspects = Counter(
            "suspects", "Messages set apart because they came back too often", registry=registry
        )
        self.consumer_stalls = Counter(
            "consumer_stalls", "Times that messages waited and none was delivered", ["queue"],
            registry=registry,
        )  # fmt: skip
        self.broker_connected = Gauge(
            "broker_connected",
            "1 while there is a connection, by role: consume, publish, declare",
            ["role"],
            registry=registry,
        )
        self.broker_reconnects = Counter(
            "broker_reconnects", "Connections opened anew after one was lost", ["role"],
            registry=registry,
        )  # fmt: skip
        self.topology_problems = Gauge(
            "topology_problems",
            "What differs in RabbitMQ from what is declared, by kind: loses (messages), differs",
            ["kind"],
            registry=registry,
        )
        self.topology_restored = Counter(
            "topology_restored", "Times that something was missing and was declared again",
            ["name"], registry=registry,
        )  # fmt: skip
        self.messages_in_flight = Gauge(
            "messages_in_flight", "Deliveries taken and not settled", registry=registry
        )
        self.consumer_paused = Gauge(
            "consumer_paused", "1 while messages are held, by reason: outage, failures",
            ["reason"], registry=registry,
        )  # fmt: skip
        self.handler_duration = Histogram(
            "handler_duration_seconds", "Time in the handler", ["type"], buckets=_FAST,
            registry=registry,
        )  # fmt: skip
        self.batch_messages = Histogram(
            "batch_messages", "Messages in one transaction", buckets=_ROWS, registry=registry
        )

        # Dead letters
        self.dead_letters_archived = Counter(
            "dead_letters_archived", "Dead letters stored in PostgreSQL", ["reason"],
            registry=registry,
        )  # fmt: skip
        self.dead_letters_waiting = Gauge(
            "dead_letters_waiting", "Stored dead letters that nobody has decided about",
            registry=registry,
        )  # fmt: skip
        self.dead_letters_oldest = Gauge(
            "dead_letters_oldest_seconds", "Age of the oldest of them", registry=registry
        )

        self._outbox(registry)
        self._backfills(registry)

        # Process
        self.part_restarts = Counter(
            "part_restarts", "Parts of the process that had ended and were started again", ["part"],
            registry=registry,
        )  # fmt: skip
        self.event_loop_lag = Histogram(
            "event_loop_lag_seconds", "How late the event loop is", buckets=_FAST,
            registry=registry,
        )  # fmt: skip
        self.event_loop_blocked = Counter(
            "event_loop_blocked", "Times that the event loop stood still for LOOP_LAG_LIMIT",
            registry=registry,
        )  # fmt: skip
        self.log_lines_dropped = Counter(
            "log_lines_dropped", "Lines of the log that could not be written", registry=registry
        )
        self.log_lines_suppressed = Counter(
            "log_lines_suppressed", "Lines that the log counts instead of repeating: LOG_BURST",
            registry=registry,
        )  # fmt: skip
        self.drain_duration = Gauge(
            "drain_duration_seconds", "Time since the process was told to stop, 0 before",
            registry=registry,
        )  # fmt: skip

        # HTTP
        self.http_clients = Gauge(
            "http_clients", "Clients that are connected, by port: api, operations", ["port"],
            registry=registry,
        )  # fmt: skip
        self.http_refused = Counter(
            "http_refused",
            "Clients and requests cut off before an application saw them, by reason: "
            "clients, busy, head, body, answer, too_large, malformed",
            ["reason"],
            registry=registry,
        )

        # Database
        self.db_operation_duration = Histogram(
            "db_client_operation_duration_seconds",
            "Time of one statement as the client sees it",
            ["query", "outcome"],
            buckets=_FAST,
            registry=registry,
        )
        self.db_errors = Counter(
            "db_client_errors", "Failed statements by kind of error", ["query", "kind"],
            registry=registry,
        )  # fmt: skip
        self.db_connections = Gauge(
            "db_client_connections", "Open connections, by state: idle, used", ["state"],
            registry=registry,
        )  # fmt: skip
        self.db_connections_max = Gauge(
            "db_client_connections_max", "Size of the pool", registry=registry
        )
        self.db_connections_pending = Gauge(
            "db_client_connections_pending_requests", "Waiting for a connection", registry=registry
        )
        self.db_connection_wait = Histogram(
            "db_client_connection_wait_time_seconds", "Time waited for a connection",
            buckets=_FAST, registry=registry,
        )  # fmt: skip
        self.db_connection_use = Histogram(
            "db_client_connection_use_time_seconds", "Time a connection was held",
            buckets=_FAST, registry=registry,
        )  # fmt: skip
        self.db_connection_create = Histogram(
            "db_client_connection_create_time_seconds", "Time to open a connection",
            buckets=_FAST, registry=registry,
        )  # fmt: skip
        self.db_connection_timeouts = Counter(
            "db_client_connection_timeouts", "Waits that ended without one", registry=registry
        )
        self.db_connections_closed = Counter(
            "db_client_connections_closed",
            "Connections closed, by reason: broken, cancelled, dead, expired, in_transaction",
            ["reason"],
            registry=registry,
        )
        self.db_transaction_duration = Histogram(
            "db_transaction_duration_seconds", "Length of a transaction",
            ["unit_of_work", "outcome"], buckets=_FAST, registry=registry,
        )  # fmt: skip
        self.db_transaction_retries = Counter(
            "db_transaction_retries",
            "Units of work run again after a conflict: serialization, deadlock, lock",
            ["unit_of_work", "reason"],
            registry=registry,
        )
        self.db_transaction_retries_exhausted = Counter(
            "db_transaction_retries_exhausted", "Units of work given up after conflicts",
            ["unit_of_work"], registry=registry,
        )  # fmt: skip
        self.db_slow_statements = Counter(
            "db_slow_statements", "Statements slower than SLOW_STATEMENT", ["query"],
            registry=registry,
        )  # fmt: skip
        self.db_repeated_statements = Counter(
            "db_repeated_statements", "Units of work that repeated a statement needlessly",
            ["query"], registry=registry,
        )  # fmt: skip
        self.db_rows_already_there = Counter(
            "db_rows_already_there", "Rows left out of an insert because their key was there",
            ["query"], registry=registry,
        )  # fmt: skip
        self.db_unreadable_rows = Counter(
            "db_unreadable_rows", "Rows found with a value that has no form in Python", ["query"],
            registry=registry,
        )  # fmt: skip
        self.db_guard_violations = Counter(
            "db_guard_violations",
            "Uses of the database that break its rules, by kind",
            ["kind"],
            registry=registry,
        )
        self.db_migration_duration = HistogramOfRows(
            "db_migration_duration_seconds",
            "Length of each migration of the history, by outcome: ok, failed, running (so far)",
            ["direction", "outcome"],
            buckets=_SLOW,
            registry=registry,
        )

    def _outbox(self, registry: CollectorRegistry) -> None:
        self.outbox_published = Counter(
            "outbox_published", "Outbox rows the broker confirmed", ["type"], registry=registry
        )
        self.outbox_publish_failures = Counter(
            "outbox_publish_failures",
            "Publishes that failed. By reason: unheard, refused, unconfirmed, untried (an outage): "
            "once for each try of a type; unpublishable, dangerous: once for each try of an event",
            ["type", "reason"],
            registry=registry,
        )
        self.outbox_set_aside = Counter(
            "outbox_set_aside", "Outbox rows moved to the dead letters: no broker takes them",
            ["type"], registry=registry,
        )  # fmt: skip
        self.outbox_dropped = Counter(
            "outbox_dropped", "Outbox rows deleted after UNHEARD_RETENTION: nobody listened",
            ["type"], registry=registry,
        )  # fmt: skip
        self.outbox_pending = Gauge(
            "outbox_pending",
            "Outbox rows to be published, without parked ones; exact below 10,000, then estimated",
            registry=registry,
        )
        self.outbox_oldest = Gauge(
            "outbox_oldest_seconds", "Age of the oldest of them", registry=registry
        )
        self.outbox_parked = Gauge(
            "outbox_parked", "Outbox rows of parked types; 10,000 stands for that many or more",
            ["type"], registry=registry,
        )  # fmt: skip
        self.outbox_parked_types = Gauge(
            "outbox_parked_types",
            "Types of events the broker does not take now, by reason: unheard, refused, "
            "unconfirmed; and by whether they need a listener: yes, no",
            ["reason", "needed"],
            registry=registry,
        )
        self.outbox_parked_oldest = Gauge(
            "outbox_parked_oldest_seconds", "Age of the oldest parked row", registry=registry
        )
        self.relay_paused = Gauge(
            "relay_paused",
            "1 while a part of the relay fails: publish, probe, tidy, report", ["part"],
            registry=registry,
        )  # fmt: skip
        self.outbox_leases_lost = Counter(
            "outbox_leases_lost", "Rows published by a relay that was too slow, and by another",
            registry=registry,
        )  # fmt: skip

    def _backfills(self, registry: CollectorRegistry) -> None:
        self.backfill_state = Gauge(
            "backfill_state",
            "1 for the state of a backfill: pending, running, paused, throttled, failed, "
            "completed, cancelled",
            ["backfill", "state"],
            registry=registry,
        )
        self.backfill_rows_done = Gauge(
            "backfill_rows_done", "Rows that a backfill has gone through", ["backfill"],
            registry=registry,
        )  # fmt: skip
        self.backfill_rows = Gauge(
            "backfill_rows", "Rows that it is to go through, as PostgreSQL estimated", ["backfill"],
            registry=registry,
        )  # fmt: skip
        self.backfill_still = Gauge(
            "backfill_still_seconds",
            "Time since a backfill moved, while nobody has paused, cancelled or completed it",
            ["backfill"],
            registry=registry,
        )
        self.backfill_silent = Gauge(
            "backfill_silent_seconds", "Time since its runner gave a sign of life", ["backfill"],
            registry=registry,
        )  # fmt: skip
