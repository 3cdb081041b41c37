"""Addresses such as `postgresql://user:password@host:5432/name?parameter=value`, read strictly.

What two programs could read in two ways is refused, because a part of a password would become a
host or a port and stand in an error text. No error text here shows any part of the address.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from urllib.parse import quote, unquote

from pydantic import AfterValidator

from acme_orders.chassis.errors import ConfigurationError

REMEDY = (
    "percent-encode each character of user, password and parameters that is no letter, digit, "
    "'-', '.', '_' or '~': % is %25, / is %2F, @ is %40, : is %3A, # is %23, ? is %3F, & is %26, "
    "a space is %20"
)
_PORTS = range(1, 65536)
_HOST = re.compile(r"[\w.-]+")
_SOCKET = re.compile(r"[/@].+")  # a folder, or a name in Linux's abstract namespace
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETER = re.compile(r"[a-z_]{1,40}")
# Passwords that stand in examples and installation guides, with or without digits behind them.
_PLACEHOLDER = re.compile(
    r"(change(me|this|it)|replaceme).*|((your|my|the)?(password|passwd|secret)|guest|postgres|"
    r"rabbitmq|admin|default|example|placeholder|todo|test|123456)\d*"
)


@dataclass(frozen=True)
class Address:
    """The parts of an address, decoded.

    Args:
        scheme: such as `amqp`.
        user: empty if none is named.
        password: empty if there is none.
        hosts: each with its port; the port is None if none is named.
        path: behind the first `/`.
        parameters: behind `?`.
    """

    scheme: str
    user: str
    password: str = field(repr=False)
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    parameters: Mapping[str, str] = field(repr=False)


def parse(text: str, *schemes: str) -> Address:
    """Take an address apart.

    Raises:
        ConfigurationError: it has another scheme, or cannot be read in one way only.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme not in schemes:
        raise ConfigurationError(
            f"must begin with {' or '.join(f'{each}://…' for each in schemes)}"
        )
    if " " in rest or not rest.isprintable():
        raise ConfigurationError(
            f"has a space, the end of a line or another character that does not print: {REMEDY}"
        )
    authority, path, query = _cut(rest)
    credentials, _, places = authority.rpartition("@")
    if "#" in rest or "@" in f"{credentials}{path}{query}":
        raise ConfigurationError(f"has a '#', or an '@' that does not end the password: {REMEDY}")
    user, _, password = credentials.partition(":")
    return Address(
        scheme=scheme,
        user=_decoded(user),
        password=_decoded(password),
        hosts=tuple(_host(place) for place in places.split(",")),
        path=_decoded(path),
        parameters=_parameters(query),
    )


def guessed_password(text: str) -> str:
    """What is probably the password of an address that cannot be read; never to be shown."""
    return text.partition("://")[2].rpartition("@")[0].partition(":")[2]


def with_path(text: str, path: str) -> str:
    """The same address with another path."""
    scheme, _, rest = text.partition("://")
    authority, _, query = _cut(rest)
    return f"{scheme}://{authority}/{quote(path, safe='')}{query and '?'}{query}"


def host(name: str) -> str:
    """The same name of a host, its IP address, or the folder of a socket.

    Raises:
        ConfigurationError: it is none of these.
    """
    return name if _HOST.fullmatch(name) or _SOCKET.fullmatch(name) else ip(name)


def ip(name: str, kind: Callable[[str], object] = ip_address) -> str:
    """The same IP address.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        kind(name)
    except ValueError:
        raise ConfigurationError(
            "has a host that is neither a name nor an address: IPv6 is written like [::1], and "
            f"in a password {REMEDY}"
        ) from None
    return name


def port(text: str) -> int:
    """The number of a port.

    Raises:
        ConfigurationError: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) not in _PORTS:
        raise ConfigurationError(
            f"has a port that is no number from 1 to {_PORTS[-1]}: an IPv6 address stands in "
            f"brackets, and in a password {REMEDY}"
        )
    return int(text)


def is_placeholder(user: str, password: str) -> bool:
    """Whether a password is known to everybody: an example, or the name of its user."""
    letters = re.sub(r"[\W_]", "", password.casefold())
    alike = len(set(password)) == 1 or password.casefold() == user.casefold()
    return bool(password) and (alike or bool(_PLACEHOLDER.fullmatch(letters)))


def _cut(rest: str) -> tuple[str, str, str]:
    """Authority, path and query. Whatever is found before `/` or `?` belongs to the authority."""
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    return authority, path, query


def _host(place: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", place)
    name, number = bracketed.groups() if bracketed else (place.partition(":")[::2])
    name = _decoded(name)
    if bracketed:
        ip(name, IPv6Address)
    elif name:
        host(name)
    return name, port(number) if number else None


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in query.split("&") if query else ():
        name, equals, value = each.partition("=")
        if not (equals and _PARAMETER.fullmatch(name)):
            raise ConfigurationError(f"has a parameter that is not written name=value: {REMEDY}")
        if name in found:
            raise ConfigurationError(f"has the parameter {name} twice: leave one of them out")
        found[name] = _decoded(value)
    return found


def _decoded(text: str) -> str:
    if _BARE_PERCENT.search(text):
        raise ConfigurationError(f"has a '%' without two hexadecimal digits behind it: {REMEDY}")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(
            "has percent-encoded bytes that are no UTF-8: percent-encode the bytes of UTF-8"
        ) from None
    if "\0" in decoded:
        raise ConfigurationError("has %00: no server takes a zero byte; choose another password")
    return decoded


def readable(read: Callable[[str], object]) -> AfterValidator:
    """For a setting: refuses an address that `read` refuses."""

    def check(value: str) -> str:
        try:
            read(value)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)
