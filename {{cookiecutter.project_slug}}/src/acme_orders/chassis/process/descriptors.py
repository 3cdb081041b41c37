"""Open files: clients take one each, and leave some for PostgreSQL, RabbitMQ and the probes."""

import resource
from contextlib import suppress

from acme_orders.chassis.errors import ConfigurationError

_OTHERS = 64  # RabbitMQ, listening sockets, logs, names that are looked up


def make_room(sockets: int, *, connections: int) -> None:
    """Raise the limit of this process as far as it may, and see that it suffices.

    Args:
        sockets: of the clients of all ports, at most.
        connections: to PostgreSQL, at most.

    Raises:
        ConfigurationError: the limit is too low for the settings.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems have a lower limit than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    needed = sockets + connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise ConfigurationError(
            f"this process may open {soft} files and needs {needed}: {sockets} for clients "
            f"(HTTP_CLIENTS), {connections} for PostgreSQL (POOL_SIZE) and {_OTHERS} others; "
            "lower the settings, or raise the limit (`ulimit -n`)"
        )
