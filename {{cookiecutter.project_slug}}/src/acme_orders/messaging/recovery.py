"""What happens to a message that failed. Decided in one table, done in one place."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from acme_orders.errors import (
    BrokerUnavailable,
    ConstraintViolated,
    DatabaseUnavailable,
    MessageError,
    TryLater,
)
from acme_orders.messaging.broker import Broker, Delivery
from acme_orders.messaging.envelope import ATTEMPT, attempt_of
from acme_orders.messaging.topology import DEFAULT_EXCHANGE, Topology
from acme_orders.observability.metrics import Metrics

log = structlog.get_logger()

_NEVER_VALID = {"23502", "23514"}  # not null, check: the same row will never be accepted
_LONGEST_TEXT = 512  # all headers together have to fit into one frame


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Set it aside, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again when the retry queue gives it back."""

    queue: str


@dataclass(frozen=True, slots=True)
class Hold:
    """An outage: keep the message, spend no attempt, wait until it is over."""


def decide(error: BaseException, attempt: int, topology: Topology) -> DeadLetter | Retry | Hold:
    """The table.

    Args:
        error: that left the handler or the decoder.
        attempt: from 1.
        topology: its ladder says how often there is another attempt.
    """
    match error:
        case DatabaseUnavailable() | BrokerUnavailable():
            return Hold()
        case MessageError():
            return DeadLetter(error.reason)
        case ConstraintViolated() if error.sqlstate in _NEVER_VALID:
            return DeadLetter("constraint")
        case _ if attempt > len(topology.ladder):
            return DeadLetter("retries_exhausted")
        case _:
            return Retry(topology.ladder[attempt - 1].name)


class Recovery:
    """Sends a copy of a failed message to where it belongs now.

    The copy is confirmed before the original is acked. A crash between the two leaves two copies
    with one id; the inbox lets one of them count.
    """

    def __init__(self, broker: Broker, topology: Topology, metrics: Metrics) -> None:
        self._broker, self._topology, self._metrics = broker, topology, metrics

    async def move(self, delivery: Delivery, error: Exception) -> str:
        """Do what the table says; returns the outcome. The caller acks the original.

        Raises:
            Exception: `error` itself, if it means that an outage has to be waited out.
        """
        attempt = attempt_of(delivery.message)
        match decide(error, attempt, self._topology):
            case Hold():
                raise error
            case DeadLetter(reason):
                headers = _obituary(delivery, error, reason, attempt)
                await self._copy(delivery, self._topology.dead_letters.name, headers)
                self._metrics.dead_letters.labels(reason).inc()
                log.error("message.dead_lettered", reason=reason, **_describe(delivery, error))
                return "dead_lettered"
            case Retry(queue):
                await self._copy(delivery, queue, {ATTEMPT: attempt + 1})
                self._metrics.message_retries.labels(queue).inc()
                told = _describe(delivery, error) | {"attempt": attempt, "retry_queue": queue}
                if isinstance(error, TryLater):
                    log.info("message.postponed", **told)
                else:
                    log.warning("message.failed", exc_info=error, **told)
                return "retried"

    async def _copy(self, delivery: Delivery, queue: str, headers: dict[str, Any]) -> None:
        # A broker reads some x- headers as its own; a client could forge them. And whoever puts a
        # dead letter back gives it all its attempts again.
        kept = {
            name: value
            for name, value in delivery.message.headers.items()
            if not name.lower().startswith("x-") and name != ATTEMPT
        }
        copy = replace(delivery.message, headers={**kept, **headers})
        await self._broker.publish(copy, exchange=DEFAULT_EXCHANGE, routing_key=queue)


def _obituary(delivery: Delivery, error: Exception, reason: str, attempt: int) -> dict[str, Any]:
    return {
        "dl-reason": reason,
        "dl-error-type": type(error).__name__,
        "dl-error-message": str(error)[:_LONGEST_TEXT],
        "dl-attempts": attempt,
        "dl-queue": delivery.queue,
        "dl-failed-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _describe(delivery: Delivery, error: Exception) -> dict[str, Any]:
    message = delivery.message
    return {
        "message_id": message.message_id,
        "type": message.type,
        "error": type(error).__name__,
        "why": str(error)[:_LONGEST_TEXT],
    }
