"""Every error that somebody reacts to, and what the reaction is.

    ServiceError
    ├── ConfigurationError           start is refused; exit status 78
    ├── MessageError                 permanent → dead letter, with `reason`
    │   ├── Malformed                cannot be decoded
    │   ├── UnknownType              no handler for this type
    │   ├── PayloadMismatch          an id that was seen with other content
    │   ├── BeyondDedupWindow        too old to tell whether it was processed before
    │   └── Refused                  the business says no, for good
    ├── BadCursor                    a page is asked for that no page before it has named
    ├── TryLater                     → retried later, not logged as an error
    ├── Interrupted                  a CancelledError or SystemExit that nobody asked for → a bug
    ├── PartsMissing                 something that has to run does not → /ready says so
    ├── TopologyDiffers              RabbitMQ loses messages of ours → /ready says so
    ├── DatabaseError
    │   ├── Conflict                 40001, 40P01, 55P03 → run again; no attempt is spent
    │   ├── DatabaseUnavailable      an outage → pause and hold, no attempt is spent
    │   │   ├── CommitUnknown        COMMIT was under way and got no answer
    │   │   └── PoolExhausted        no connection became free in time → see `POOL_SIZE`
    │   ├── StatementTimeout         57014 without a cancellation of ours
    │   ├── ConstraintViolated       23xxx; `constraint` names it
    │   ├── TransactionAborted       COMMIT was answered with ROLLBACK
    │   ├── QueryRefused             a programming error: a read without bound, a whole row
    │   ├── UnreadableRow            a value that has no form in Python
    │   └── TransactionMisused       a programming error
    │       ├── WriteOutsideTransaction
    │       └── IsolationTooLow      begin again with the level that it names
    ├── Unpublishable                no broker can take this event → set aside
    └── BrokerUnavailable            an outage → pause and hold, no attempt is spent
        ├── Unconfirmed              the broker did not answer a publish in time
        ├── ChannelDenied            the broker closed the channel: no permission, no exchange
        └── PublishFailed            the broker did not take the message
            └── Unroutable           no queue is bound to its routing key

Anything else that leaves a handler is a bug: logged with traceback, retried, then a dead letter.
"""

from collections.abc import Sequence
from typing import ClassVar


class ServiceError(Exception):
    """Something this service knows how to react to."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class ConfigurationError(ServiceError):
    """The service cannot start as it is configured."""


class MessageError(ServiceError):
    """This message can never succeed."""

    reason: ClassVar[str] = "permanent"


class Malformed(MessageError):
    """The message cannot be decoded.

    Args:
        message: what is wrong with it.
        places: where, such as `lines.0.sku`, and what is wrong there.
        kind: of mistake, such as `sku: string_too_long`; one of a few, whatever a message says.
    """

    reason = "malformed"

    def __init__(
        self,
        message: str | None = None,
        places: Sequence[tuple[str, str]] = (),
        *,
        kind: str = "",
    ) -> None:
        super().__init__(message or "; ".join(": ".join(place) for place in places))
        self.places, self.kind = places, kind


class UnknownType(MessageError):
    """No handler is registered for this type of message."""

    reason = "unknown_type"


class PayloadMismatch(MessageError):
    """A message with this id was processed before, with other content."""

    reason = "payload_mismatch"


class BeyondDedupWindow(MessageError):
    """The message is older than what the inbox remembers: it may have been processed before."""

    reason = "beyond_dedup_window"


class Refused(MessageError):
    """The business refuses this message for good."""

    reason = "refused"


class TryLater(ServiceError):
    """The handler asks for another attempt, later.

    Args:
        message: why.
        after: seconds that it should wait at least; the next step of the ladder without it.
    """

    def __init__(self, message: str | None = None, *, after: float = 0) -> None:
        super().__init__(message)
        self.after = after


class BadCursor(ServiceError):
    """This list has not given this cursor: take `next` of the page before, or begin without one."""


class Interrupted(ServiceError):
    """Code ended with something that ends tasks or processes, though nobody had asked for that."""


class PartsMissing(ServiceError):
    """Parts that have to run as long as the process does have ended."""


class TopologyDiffers(ServiceError):
    """RabbitMQ has other exchanges, queues or bindings than this version declares."""


class DatabaseError(ServiceError):
    """PostgreSQL or its driver reported an error; `__cause__` is the driver's own.

    `query` names the statement. `own` says that it is one of the machinery's own, which is sent for
    every message.
    """

    sqlstate: str | None = None
    query: str | None = None
    own: bool = False


class Conflict(DatabaseError):
    """Another transaction was in the way; run the whole unit of work again."""


class DatabaseUnavailable(DatabaseError):
    """PostgreSQL cannot be used right now."""


class CommitUnknown(DatabaseUnavailable):
    """COMMIT was under way and got no answer: nobody knows whether the effects are there."""


class PoolExhausted(DatabaseUnavailable):
    """No connection of the pool became free in time."""


class StatementTimeout(DatabaseError):
    """A statement ran longer than its timeout and was ended by PostgreSQL."""


class ConstraintViolated(DatabaseError):
    """A row breaks a constraint of the schema."""

    constraint: str | None = None


class TransactionAborted(DatabaseError):
    """It is rolled back instead of committed: an error inside of it had been swallowed."""


class QueryRefused(DatabaseError):
    """The query would read more than it needs, or without any bound."""


class UnreadableRow(DatabaseError):
    """A row has a value that has no form in Python, or that its field refuses."""


class TransactionMisused(DatabaseError):
    """The transaction is used in a way that would lose or mix data."""


class WriteOutsideTransaction(TransactionMisused):
    """A write was attempted outside a transaction."""


class IsolationTooLow(TransactionMisused):
    """A transaction cannot be a part of one with a weaker isolation.

    Args:
        level: that it has to have.
    """

    def __init__(self, level: str) -> None:
        super().__init__(f"the enclosing transaction is not {level}")
        self.level = level


class Unpublishable(ServiceError):
    """The message has a part that AMQP has no form for, or that is too large to be sent."""


class BrokerUnavailable(ServiceError):
    """The message broker cannot be used right now."""


class Unconfirmed(BrokerUnavailable):
    """The broker did not answer a publish in time; the message may have arrived."""


class ChannelDenied(BrokerUnavailable):
    """The broker closed the channel: the user lacks a permission, or the exchange is missing."""


class PublishFailed(BrokerUnavailable):
    """The broker did not take responsibility for a message."""


class Unroutable(PublishFailed):
    """No queue is bound to the routing key of a message."""
