"""What failures have in common, and what they say about the message that failed."""

import hashlib
from types import TracebackType

from acme_orders.chassis.database import failures as database
from acme_orders.chassis.errors import (
    BrokerUnavailable,
    DatabaseError,
    DatabaseUnavailable,
    Malformed,
    MessageError,
)

_FRAMES = 3  # innermost lines of our own; those of libraries change with their versions
_PACKAGE = __name__.partition(".")[0]


def fingerprint(error: BaseException) -> str:
    """The same for all failures of one kind, at one place in the code; 16 hexadecimal digits.

    What cannot be decoded fails at one place, whatever is wrong with it.
    """
    places = [type(error).__qualname__, *list(_places(error.__traceback__))[-_FRAMES:]]
    if isinstance(error, Malformed) and error.kind:
        places.append(error.kind)
    return hashlib.sha256("\n".join(places).encode()).hexdigest()[:16]


def _places(trace: TracebackType | None) -> "list[str]":
    found = []
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == _PACKAGE:
            found.append(f"{module}.{trace.tb_frame.f_code.co_qualname}")
        trace = trace.tb_next
    return found


def alike(error: BaseException) -> str:
    """The same text for all failures that may have one cause, for people too.

    A session that ends hits whatever is being sent, so there the statement makes no difference.
    """
    name = type(error).__name__
    if isinstance(error, DatabaseUnavailable | BrokerUnavailable):
        return name
    if isinstance(error, DatabaseError) and error.sqlstate:
        return f"{name} {error.sqlstate} in {error.query or 'COMMIT'}"
    return f"{name}, fingerprint {fingerprint(error)}"


def is_doubtful(error: Exception) -> bool:
    """Whether it may be nobody's fault here: an outage, a missing right, a table that is gone."""
    if isinstance(error, DatabaseError):
        return database.is_doubtful(error)
    return isinstance(error, BrokerUnavailable)


def is_permanent(error: Exception) -> bool:
    """Whether this message can never succeed, so that another attempt makes no sense."""
    if isinstance(error, DatabaseError):
        return database.is_permanent(error)
    return isinstance(error, MessageError)
