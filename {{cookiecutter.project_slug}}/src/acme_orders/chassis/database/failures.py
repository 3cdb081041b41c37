"""From a driver's error to one of ours. The one place that knows SQLSTATE."""

import re

from acme_orders.chassis.database import driver
from acme_orders.chassis.errors import (
    Conflict,
    ConstraintViolated,
    DatabaseError,
    DatabaseUnavailable,
    QueryRefused,
    StatementTimeout,
    TransactionMisused,
    WriteOutsideTransaction,
)

_CONFLICTS = {"40001": "serialization", "40P01": "deadlock", "55P03": "lock"}
_READ_ONLY, _FAILED, _SEQUENCE_USED_UP, _DISK_FULL = "25006", "25P02", "2200H", "53100"
# Connection, out of resources, shutdown, the files below.
_UNAVAILABLE = ("08", "53", "57P", "58")
# What may be wrong with the schema, a right, the role or the server, whatever the values are. The
# same may be wrong with one statement that only some messages need, so it is no outage by itself.
_DOUBTFUL = ("0A", "0B", "0L", "0P", "26", "28", "34", "3D", "3F", "42", "55", "57", "72", "F0",
             "HV", "XX", _SEQUENCE_USED_UP)  # fmt: skip
# Not null, check, and a value that does not fit its type: the same row will never be accepted.
_NEVER = ("23502", "23514", "22")
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
    elif _is_unavailable(state) or broken or (state is None and isinstance(error, OSError)):
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


def is_doubtful(error: DatabaseError) -> bool:
    """Whether it may be nobody's fault who sent the statement; what becomes of others says more."""
    if isinstance(error, DatabaseUnavailable):
        return True
    if isinstance(error, Conflict | TransactionMisused | QueryRefused):
        return False
    # After an error that the caller has swallowed every statement fails, whoever sends it.
    state = error.sqlstate or ""
    return state != _FAILED and (
        error.own or (state.startswith(_DOUBTFUL) and not isinstance(error, StatementTimeout))
    )


def is_out_of_room(error: Exception) -> bool:
    """Whether PostgreSQL found no room on a disk for what a statement needed."""
    return isinstance(error, DatabaseError) and error.sqlstate == _DISK_FULL


def is_permanent(error: DatabaseError) -> bool:
    """Whether the same values will never be accepted."""
    return (error.sqlstate or "").startswith(_NEVER) and error.sqlstate != _SEQUENCE_USED_UP


def is_about_values(error: Exception) -> bool:
    """Whether other values might be accepted; a bug in how they are written is one, too."""
    if isinstance(error, DatabaseError):
        passing = isinstance(error, DatabaseUnavailable | Conflict | StatementTimeout)
        return not passing and (error.sqlstate or "22").startswith(("22", "23", "54"))
    return True


def _is_unavailable(state: str | None) -> bool:
    return state is not None and (state.startswith(_UNAVAILABLE) or state == _READ_ONLY)
