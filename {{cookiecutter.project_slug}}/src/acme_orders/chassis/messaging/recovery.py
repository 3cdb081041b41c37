"""What happens to a message that is to blame itself. Decided in one table, done in one place."""

import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from acme_orders.chassis.dead_letters.record import identity
from acme_orders.chassis.errors import Conflict, MessageError, TryLater
from acme_orders.chassis.messaging.attributes import ATTEMPT, attempt_of
from acme_orders.chassis.messaging.broker import Broker, Delivery, Message
from acme_orders.chassis.messaging.copies import copy_of
from acme_orders.chassis.messaging.failures import fingerprint, is_permanent
from acme_orders.chassis.messaging.topology import DEFAULT_EXCHANGE, Topology
from acme_orders.chassis.observability import spans  # feature: tracing
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.observability.tracebacks import what_it_says

log = structlog.get_logger()

FIRST_FAILED = "retry-first-failed-at"
_LONGEST_TEXT = 512  # all headers together have to fit into one frame


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Set it aside, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again when the retry queue gives it back; that will be attempt number `attempt`."""

    queue: str
    attempt: int


def decide(error: Exception, attempt: int, topology: Topology) -> DeadLetter | Retry:
    """The table.

    Args:
        error: that left the handler or the decoder. If it may be nobody's fault here, such as an
            outage, somebody has found out that it is the message's (`triage.py`).
        attempt: from 1.
        topology: its ladder says how often there is another attempt.
    """
    ladder = topology.ladder
    outcome: DeadLetter | Retry
    match error:
        case MessageError():
            outcome = DeadLetter(error.reason)
        case _ if is_permanent(error):
            outcome = DeadLetter("constraint")
        case Conflict():  # somebody else was in the way; that says nothing about this message
            outcome = Retry(ladder[0].name, attempt)
        case _ if attempt > len(ladder):
            outcome = DeadLetter("retries_exhausted")
        case TryLater():
            left = ladder[attempt - 1 :]
            late_enough = (step for step in left if (step.ttl or 0) >= error.after)
            outcome = Retry(next(late_enough, ladder[-1]).name, attempt + 1)
        case _:
            outcome = Retry(ladder[attempt - 1].name, attempt + 1)
    return outcome


class Recovery:
    """Sends a copy of a message to where it belongs now.

    The copy is confirmed before the original is acked. A crash between the two leaves two copies
    with one id; the inbox lets one of them count.
    """

    def __init__(
        self, broker: Broker, topology: Topology, metrics: Metrics, *, service: str
    ) -> None:
        self._broker, self._topology, self._metrics = broker, topology, metrics
        self._service = service

    @spans.of_delivery  # feature: tracing
    async def move(self, delivery: Delivery, error: Exception) -> str:
        """Do what the table says; returns the outcome. The caller acks the original.

        Raises:
            BrokerUnavailable: the copy is not confirmed.
        """
        attempt = attempt_of(delivery.message)
        match decide(error, attempt, self._topology):
            case DeadLetter(reason):
                headers = self._obituary(delivery, error, reason, attempt)
                await self._copy(delivery, self._topology.dead_letters.name, headers)
                self._metrics.dead_letters.labels(reason).inc()
                _tell("message.dead_lettered", logging.ERROR, delivery, error, reason=reason)
                return "dead_lettered"
            case Retry(queue, next_attempt):
                first = _first_failed(delivery.message)
                await self._copy(delivery, queue, {ATTEMPT: next_attempt, FIRST_FAILED: first})
                self._metrics.message_retries.labels(queue).inc()
                expected = isinstance(error, TryLater | Conflict)
                event = "message.postponed" if expected else "message.failed"
                level = logging.INFO if expected else logging.WARNING
                _tell(event, level, delivery, error, attempt=attempt, retry_queue=queue)
                return "retried"

    async def set_apart(self, delivery: Delivery) -> str:
        """Move a message that came back too often to where it can hurt no other."""
        attempt = attempt_of(delivery.message)
        await self._copy(delivery, self._topology.suspects.name, {ATTEMPT: attempt})
        self._metrics.suspects.inc()
        log.warning(
            "message.suspected", message_id=delivery.message.message_id, returns=delivery.returns
        )
        return "suspected"

    async def put_back(self, delivery: Delivery) -> str:
        """Send a message to the end of its queue.

        A copy and not a nack: it must not come closer to the delivery limit because of an outage.
        """
        await self._copy(delivery, delivery.queue, {ATTEMPT: attempt_of(delivery.message)})
        return "put_back"

    async def _copy(self, delivery: Delivery, queue: str, headers: dict[str, Any]) -> None:
        copy = copy_of(delivery.message, headers)
        await self._broker.publish(copy, exchange=DEFAULT_EXCHANGE, routing_key=queue)

    def _obituary(
        self, delivery: Delivery, error: Exception, reason: str, attempt: int
    ) -> dict[str, Any]:
        return {
            "dl-id": str(identity(delivery.message)),
            "dl-reason": reason,
            "dl-error-type": type(error).__name__,
            "dl-error-message": str(error)[:_LONGEST_TEXT],
            "dl-fingerprint": fingerprint(error),
            "dl-attempts": attempt,
            "dl-queue": delivery.queue,
            "dl-first-failed-at": _first_failed(delivery.message),
            "dl-failed-at": _now(),
            "dl-service": self._service,
            "dl-host": socket.gethostname()[:_LONGEST_TEXT],
        }


def _tell(event: str, level: int, delivery: Delivery, error: Exception, **more: Any) -> None:
    log.log(
        level,
        event,
        message_id=delivery.message.message_id,
        type=delivery.message.type,
        error=type(error).__name__,
        why=(what_it_says(error) or "")[:_LONGEST_TEXT] or None,
        fingerprint=fingerprint(error),
        exc_info=error if event == "message.failed" else None,
        **more,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _first_failed(message: Message) -> str:
    """As our last copy says; anybody can send this header, with anything in it."""
    found = message.headers.get(FIRST_FAILED)
    return found if isinstance(found, str) and len(found) <= len(_now()) else _now()
