"""Tracebacks without values of messages and requests."""

import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict

from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.observability.redaction import MASK

# Where an exception may come from code that had a message or a request in its hands: this event,
# and this library's logger.
_EVENT, _LOGGER = "message.failed", "uvicorn.error"


def what_it_says(error: BaseException) -> str | None:
    """The text of an error of ours; None of another one, which may have a value in it."""
    return str(error) if isinstance(error, ServiceError) else None


def without_values(logger: Any, method: str, event: EventDict) -> EventDict:
    """A structlog processor that writes the traceback; never the values of variables.

    What exceptions of others say is left out where it may be a value. The text of one that ends a
    message is in its dead letter.
    """
    error = event.get("exc_info")
    error = sys.exc_info()[1] if error is True else error
    error = error[1] if isinstance(error, tuple) else error
    of_business = event.get("event") == _EVENT or event.get("logger") == _LOGGER
    if not (of_business and isinstance(error, BaseException)):
        return structlog.processors.format_exc_info(logger, method, event)
    del event["exc_info"]
    event["exception"] = "\n".join(_lines(error, set())).rstrip()
    return event


def _lines(error: BaseException, told: set[int]) -> list[str]:
    """As `traceback` writes it, the causes first; each exception once."""
    told.add(id(error))
    lines = list[str]()
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in told:
        lines += [*_lines(before, told), "", "which led to:", ""]
    lines += ["Traceback (most recent call last):"] if error.__traceback__ else []
    lines += "".join(traceback.format_tb(error.__traceback__)).splitlines()
    lines.append(f"{type(error).__qualname__}: {what_it_says(error) or MASK}")
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        lines += [f"  | {line}" for line in _lines(each, told)]
    return lines
