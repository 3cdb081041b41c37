"""From a driver's error to one of ours. The one place that knows SQLSTATE."""

import re

from acme_orders.database import driver
from acme_orders.errors import (
    Conflict,
    ConstraintViolated,
    DatabaseError,
    DatabaseUnavailable,
    StatementTimeout,
    TransactionMisused,
    WriteOutsideTransaction,
)

_CONFLICTS = {"40001": "serialization", "40P01": "deadlock", "55P03": "lock"}
_OUTAGE_CLASSES = ("08", "53", "57P")  # connection, out of resources, shutdown
_READ_ONLY = "25006"
_QUOTED = re.compile(r'".*"', re.DOTALL)


def translate(error: BaseException, *, in_transaction: bool, broken: bool = False) -> DatabaseError:
    """Say what a driver's error means to us; raise the result `from` the error.

    Args:
        error: as it came from the driver.
        in_transaction: whether a transaction was open.
        broken: whether the connection is closed now, which makes it an outage whatever was said.
    """
    state = driver.sqlstate(error)
    # Of what the server says the primary message only: the detail shows the values of the row.
    diagnosis = getattr(error, "diag", None) if state else None
    text = getattr(diagnosis, "message_primary", None) or " ".join(str(error).split())
    text = text or type(error).__name__
    if state is not None:
        if state.startswith("22"):  # the value itself is what is wrong, and is quoted
            text = _QUOTED.sub('"…"', text)
        error.args = (text,)  # a traceback shows the cause as well
    translated: DatabaseError
    if state in _CONFLICTS:
        translated = Conflict(text)
    elif state == "57014":
        translated = StatementTimeout(text)
    elif state == _READ_ONLY and not in_transaction:
        translated = WriteOutsideTransaction(
            f"{text}: wrap the write in `async with manager.transaction(…)`"
        )
    elif _is_outage(state) or broken or (state is None and isinstance(error, OSError)):
        translated = DatabaseUnavailable(text)
    elif state is not None and state.startswith("23"):
        translated = ConstraintViolated(text)
        translated.constraint = driver.constraint(error)
    else:
        translated = DatabaseError(text)
    translated.sqlstate = state
    return translated


def kind_of(error: DatabaseError) -> str:
    """A label with few values for the error metric."""
    if error.sqlstate in _CONFLICTS:
        return _CONFLICTS[error.sqlstate]
    kinds = {
        StatementTimeout: "timeout",
        ConstraintViolated: "constraint",
        DatabaseUnavailable: "connection",
        TransactionMisused: "misused",
        WriteOutsideTransaction: "no_transaction",
    }
    return kinds.get(type(error), "other")


def _is_outage(state: str | None) -> bool:
    return state is not None and (
        state.startswith(_OUTAGE_CLASSES) or state in {_READ_ONLY, "25P03", "0A000"}
    )
