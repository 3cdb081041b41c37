"""Every metric of the service. Dashboards, alerts and the readiness checks use these.

Those of messages and of the database are in the two files beside this one. No label ever holds a
tenant, an id, SQL or a text from outside: each series costs memory for ever.
"""

from acme_orders.chassis.observability.database_metrics import DatabaseMetrics
from acme_orders.chassis.observability.families import FAST
from acme_orders.chassis.observability.message_metrics import MessageMetrics

REFUSED = ("clients", "busy", "time", "head", "body", "answer", "too_large", "malformed")


class Metrics(MessageMetrics, DatabaseMetrics):
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        super().__init__()

        # Process
        self.part_restarts = self.counter(
            "part_restarts",
            "Parts of the process that had ended and were started again",
            {"part": None},
        )
        self.part_heartbeat = self.gauge(
            "part_heartbeat_timestamp_seconds",
            "When a part last began a round: consumer, suspects, archiver, relay, topology",
            {"part": None},
        )
        self.event_loop_lag = self.histogram(
            "event_loop_lag_seconds", "How late the event loop is", buckets=FAST
        )
        self.event_loop_blocked = self.counter(
            "event_loop_blocked", "Times that the event loop stood still for LOOP_LAG_LIMIT"
        )
        self.log_lines_dropped = self.counter(
            "log_lines_dropped", "Lines of the log that could not be written"
        )
        self.log_lines_suppressed = self.counter(
            "log_lines_suppressed", "Lines that the log counts instead of repeating: LOG_BURST"
        )
        self.drain_duration = self.gauge(
            "drain_duration_seconds", "Time since the process was told to stop, 0 before"
        )

        # HTTP
        self.http_clients = self.gauge(
            "http_clients", "Clients that are connected, by port: api, operations", {"port": None}
        )
        self.http_refused = self.counter(
            "http_refused",
            "Clients and requests cut off before an application saw them, by reason: "
            "clients, busy, head, body, answer, too_large, malformed",
            {"reason": REFUSED},
        )
        self.http_requests = self.counter(
            "http_requests",
            "Requests answered, by route (a template, or other) and class of status: 2xx to 5xx",
            {"port": None, "route": None, "status": None},
        )
        self.http_request_duration = self.histogram(
            "http_request_duration_seconds",
            "Time from the head of a request to the end of its answer",
            {"port": None, "route": None},
            buckets=FAST,
        )
        self.begin()
