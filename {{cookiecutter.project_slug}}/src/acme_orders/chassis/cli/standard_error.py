"""Where every command writes what is not its result: it neither stops nor fails the process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from acme_orders.chassis.addresses import guessed_password, is_placeholder
from acme_orders.chassis.observability import logs
from acme_orders.chassis.observability.redaction import Redactor
from acme_orders.chassis.observability.sink import Sink

_LAST_LINES = 1.0  # seconds for the log at the end; whoever reads it has had all the time before
_ADDRESSES = ("DATABASE_URL", "DATABASE_SESSION_URL", "MIGRATION_DATABASE_URL", "BROKER_URL")
log = structlog.get_logger()


@contextmanager
def standard_error() -> Iterator[None]:
    """Standard error that neither stops nor fails the process, for the whole of it."""
    sys.stderr = Sink(sys.stderr)
    # ChassisSettings that cannot be read have passwords too.
    passwords = [guessed_password(os.environ.get(name, "")) for name in _ADDRESSES]
    passwords.append(os.environ.get("PGPASSWORD", ""))
    redact = Redactor(each for each in passwords if not is_placeholder("", each))
    logs.configure(level="INFO", style="console", redact=redact)
    try:
        yield
    except Exception:
        log.critical("process.crashed", exc_info=True)
        sys.exit(1)
    finally:
        logs.end(_LAST_LINES)
