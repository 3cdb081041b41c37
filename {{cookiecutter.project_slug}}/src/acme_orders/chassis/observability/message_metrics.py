"""Metrics of messages: those that come in, dead letters, and events that go out."""

from acme_orders.chassis.observability.families import FAST, ROWS, Families

OUTCOMES = ("done", "duplicate", "retried", "dead_lettered", "suspected", "put_back")
FAILURES = ("unheard", "refused", "unconfirmed", "untried", "unpublishable", "dangerous")
AGES = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 3600, 86400)


class MessageMetrics(Families):
    """From the queue to the outbox, and from there to the broker."""

    def __init__(self) -> None:
        super().__init__()

        # Messages
        self.messages_received = self.counter(
            "messages_received", "Deliveries taken from the queue", {"queue": "consumed"}
        )
        self.messages_processed = self.counter(
            "messages_processed",
            "Messages settled, by outcome: done, duplicate, retried, dead_lettered, suspected, "
            "put_back",
            {"type": "counted", "outcome": OUTCOMES},
        )
        self.message_retries = self.counter(
            "message_retries", "Copies sent to a retry queue", {"queue": "ladder"}
        )
        self.dead_letters = self.counter(
            "dead_letters", "Messages sent to the dead-letter queue", {"reason": "reasons"}
        )
        self.acks_lost = self.counter(
            "acks_lost", "Acks that found their channel closed; the inbox drops the redelivery"
        )
        self.late_acks = self.counter(
            "late_acks", "Redeliveries after a lost ack that were recognised without PostgreSQL"
        )
        self.messages_returned = self.counter(
            "messages_returned",
            "Deliveries of messages that were delivered before",
            {"queue": "consumed"},
        )
        self.suspects = self.counter(
            "suspects", "Messages set apart because they came back too often"
        )
        self.consumer_stalls = self.counter(
            "consumer_stalls",
            "Times that messages waited and none was delivered",
            {"queue": "consumed"},
        )
        self.broker_connected = self.gauge(
            "broker_connected",
            "1 while there is a connection, by role: consume, publish, declare",
            {"role": None},
        )
        self.broker_reconnects = self.counter(
            "broker_reconnects", "Connections opened anew after one was lost", {"role": None}
        )
        self.topology_problems = self.gauge(
            "topology_problems",
            "What differs in RabbitMQ from what is declared, by kind: loses (messages), differs",
            {"kind": ("loses", "differs")},
        )
        self.topology_restored = self.counter(
            "topology_restored",
            "Times that something was missing and was declared again",
            {"name": "declared"},
        )
        self.queue_messages = self.gauge(
            "queue_messages",
            "Messages that wait in a queue, as RabbitMQ said at the last TOPOLOGY_CHECK; NaN while "
            "it does not answer",
            {"queue": None},
        )
        self.queue_consumers = self.gauge(
            "queue_consumers", "Consumers of a queue, asked and shown likewise", {"queue": None}
        )
        self.messages_in_flight = self.gauge(
            "messages_in_flight", "Deliveries taken and not settled"
        )
        self.consumer_paused = self.gauge(
            "consumer_paused",
            "1 while messages are held, by reason: outage, failures, archive",
            {"reason": ("outage", "failures", "archive")},
        )
        self.handler_duration = self.histogram(
            "handler_duration_seconds", "Time in the handler", {"type": "handled"}, buckets=FAST
        )
        self.message_age = self.histogram(
            "message_age_seconds",
            "Age of a message when its effects are committed, as its sender dates it",
            buckets=AGES,
        )
        self.batch_messages = self.histogram(
            "batch_messages", "Messages in one transaction", buckets=ROWS
        )

        # Dead letters
        self.dead_letters_archived = self.counter(
            "dead_letters_archived", "Dead letters stored in PostgreSQL", {"reason": "reasons"}
        )
        self.dead_letters_waiting = self.gauge(
            "dead_letters_waiting",
            "Stored dead letters that nobody has decided about; NaN while PostgreSQL is away",
        )
        self.dead_letters_oldest = self.gauge(
            "dead_letters_oldest_seconds", "Age of the oldest of them"
        )

        # Outbox
        self.outbox_published = self.counter(
            "outbox_published", "Outbox rows the broker confirmed", {"type": "published"}
        )
        self.outbox_publish_failures = self.counter(
            "outbox_publish_failures",
            "Publishes that failed. By reason: unheard, refused, unconfirmed, untried (an outage): "
            "once for each try of a type; unpublishable, dangerous: once for each try of an event",
            {"type": "published", "reason": FAILURES},
        )
        self.outbox_set_aside = self.counter(
            "outbox_set_aside",
            "Outbox rows moved to the dead letters: no broker takes them",
            {"type": "published"},
        )
        self.outbox_dropped = self.counter(
            "outbox_dropped",
            "Outbox rows deleted after UNHEARD_RETENTION: nobody listened",
            {"type": "published"},
        )
        self.outbox_pending = self.gauge(
            "outbox_pending",
            "Outbox rows to be published, without parked ones; exact below 10,000, then estimated; "
            "NaN while PostgreSQL is away",
        )
        self.outbox_oldest = self.gauge("outbox_oldest_seconds", "Age of the oldest of them")
        self.outbox_parked = self.gauge(
            "outbox_parked",
            "Outbox rows of parked types; 10,000 stands for that many or more",
            {"type": "published"},
        )
        self.outbox_parked_types = self.gauge(
            "outbox_parked_types",
            "Types of events the broker does not take now, by reason: unheard, refused, "
            "unconfirmed; and by whether they need a listener: yes, no",
            {"reason": FAILURES[:3], "needed": ("yes", "no")},
        )
        self.outbox_parked_oldest = self.gauge(
            "outbox_parked_oldest_seconds", "Age of the oldest parked row"
        )
        self.relay_paused = self.gauge(
            "relay_paused",
            "1 while a part of the relay fails: publish, probe, tidy, report",
            {"part": ("publish", "probe", "tidy", "report")},
        )
        self.outbox_leases_lost = self.counter(
            "outbox_leases_lost", "Rows published by a relay that was too slow, and by another"
        )
