"""Where RabbitMQ is and how to log in: BROKER_URL as addresses of its nodes."""

import re
from collections.abc import Iterable

from yarl import URL

from acme_orders.chassis import addresses
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.observability.redaction import Redactor

# Of aiormq, but for those that the service sets itself.
_PARAMETERS = {
    "auth": "plain|external",
    "cadata": ".+",
    "cafile": ".+",
    "capath": ".+",
    "certfile": ".+",
    "keyfile": ".+",
    "no_verify_ssl": "[01]",
    "timeout": "[1-9][0-9]{0,5}",
}
_GUEST = "guest"
_OURS = {"heartbeat": "set HEARTBEAT", "name": "the connections have the name of the service"}


def broker_address(url: str) -> addresses.Address:
    """Read `amqp://user:password@host1:5672,host2:5672/vhost`.

    Raises:
        ConfigurationError: it cannot be read in one way only, names no host, or has a parameter
            that nobody would look at.
    """
    address = addresses.parse(url, "amqp", "amqps")
    if not all(host and not host.startswith(("/", "@")) for host, _ in address.hosts):
        raise ConfigurationError("names no host: write amqp://user:password@host:5672/vhost")
    if address.password and not address.user:
        raise ConfigurationError("has a password and no user: write amqp://user:password@host/")
    for name, value in address.parameters.items():
        if name in _OURS:
            raise ConfigurationError(f"must not have {name}: {_OURS[name]}")
        if not re.fullmatch(_PARAMETERS.get(name, ""), value):
            known = ", ".join(f"{known}={form}" for known, form in _PARAMETERS.items())
            raise ConfigurationError(f"has {name}, or a value of it, that is none of {known}")
    return address


def management_address(url: str) -> addresses.Address:
    """Read `https://user:password@host:15671`.

    Raises:
        ConfigurationError: it cannot be read in one way only, or names no user or not one host.
    """
    address = addresses.parse(url, "http", "https")
    (host, _), *others = address.hosts
    if not host or host.startswith(("/", "@")) or others or not address.user:
        raise ConfigurationError(
            "names no user or not one host: write http://user:password@host:15672"
        )
    if address.parameters:
        raise ConfigurationError("has parameters, and the management API takes none: remove them")
    return address


def login(url: str) -> tuple[str, str]:
    """User and password; without one aiormq logs in as guest, and with a certificate it has none.

    Raises:
        ConfigurationError: the address cannot be read.
    """
    address = broker_address(url)
    if address.parameters.get("auth") == "external":
        return address.user, ""
    return address.user or _GUEST, address.password or _GUEST


def nodes(url: str) -> list[URL]:
    """The address of each node that a URL names, built of its parts.

    Raises:
        ConfigurationError: it cannot be read.
    """
    address = broker_address(url)
    return [
        URL.build(
            scheme=address.scheme,
            user=address.user or None,
            password=address.password or None,
            host=host,
            port=port,
            path=f"/{address.path}",
            query=dict(address.parameters),
        )
        for host, port in address.hosts
    ]


def redactor(where: Iterable[URL]) -> Redactor:
    """Takes the passwords of these nodes out of texts."""
    logins = {(node.user or "", node.password or "") for node in where}
    return Redactor(each for user, each in logins if not addresses.is_placeholder(user, each))
