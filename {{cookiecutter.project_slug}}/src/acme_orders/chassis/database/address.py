"""Where PostgreSQL is and how to log in: DATABASE_URL as the parameters that a driver takes.

The driver gets parts and never the text of the address, so that no error of libpq can show it.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from acme_orders.chassis import addresses
from acme_orders.chassis.database import driver, session
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.observability.redaction import Redactor

Pooler = Literal["", "session", "transaction"]
_SECRET = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_TOKEN = re.compile(r"(?:\\.|[^\s\\])+")
_READ: Mapping[str, Callable[[str], object]] = {
    "host": addresses.host,
    "hostaddr": addresses.ip,
    "port": addresses.port,
}
_REFUSED = {
    "client_encoding": f"the service speaks {session.ENCODING}",
    "replication": "the service sends statements, and no replication commands",
    "fallback_application_name": "write application_name",
}


@dataclass(frozen=True)
class DatabaseAddress:
    """A server, a database and a login.

    Args:
        place: hosts and ports, for people.
        pooler: what the pooler in between gives a client alone, of sessions of PostgreSQL; empty if
            there is none.
        redact: takes the passwords out of a text.
    """

    place: str
    pooler: Pooler
    redact: Redactor
    _login: Mapping[str, str] = field(repr=False)
    _options: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `postgresql://…` with any parameter of libpq; `options` may set what we don't.

        Raises:
            ConfigurationError: it cannot be read in one way only, names no host or no parameter
                that libpq knows, or sets what the service sets itself.
        """
        login, options, pooler = _login(addresses.parse(url, "postgresql", "postgres"))
        secrets = (*(login.get(name, "") for name in _SECRET), os.environ.get("PGPASSWORD", ""))
        user = login.get("user", "")
        return cls(
            place=_place(login),
            pooler=pooler,
            redact=Redactor(each for each in secrets if not addresses.is_placeholder(user, each)),
            _login=login,
            _options=options,
        )

    def parameters(self, own: Mapping[str, str], *, application: str = "") -> dict[str, str]:
        """What the driver is given.

        Args:
            own: settings of the session beside those that all of our sessions have.
            application: name that PostgreSQL shows, where the address has none.
        """
        return {
            **self._login,
            "client_encoding": session.ENCODING,
            "fallback_application_name": application,
            "options": "" if self.pooler else session.startup_options(self._settings(own)),
        }

    def first(self, own: Mapping[str, str]) -> str:
        """What is sent first, so that a session is as the parameters cannot make it.

        Args:
            own: as for `parameters`.
        """
        match self.pooler:
            case "transaction":  # the next statement may have another session
                return "SELECT 1"
            case "session":
                return f"{session.assignments(self._settings(own))}; {session.PIN}"
        return session.PIN

    def _settings(self, own: Mapping[str, str]) -> dict[str, str]:
        return {**self._options, **session.PINNED, **own}

    @property
    def user(self) -> str:
        """Who logs in; empty if libpq finds out."""
        return self._login.get("user", "")

    @property
    def password(self) -> str:
        """Empty if there is none, or if it is somewhere else, such as in a password file."""
        return self._login.get("password", "")

    @property
    def session_attributes(self) -> str:
        """What libpq demands of a server; empty if nothing."""
        return self._login.get("target_session_attrs", "")

    @property
    def connect_timeout(self) -> float:
        """Seconds; no limit without one."""
        return float(self._login.get("connect_timeout", 0)) or float("inf")


def _login(address: addresses.Address) -> tuple[dict[str, str], dict[str, str], Pooler]:
    given = dict(address.parameters)
    options = _options(given.pop("options", ""))
    pooler = _pooler(given.pop("pooler", ""))
    if options and pooler == "transaction":
        raise ConfigurationError(
            "has options, which a pooler of transactions cannot keep: set them by ALTER ROLE"
        )
    named = {"user": address.user, "password": address.password, "dbname": address.path}
    named["host"] = ",".join(host for host, _ in address.hosts)
    named["port"] = ",".join(str(port or "") for _, port in address.hosts)
    named = {name: value for name, value in named.items() if value.strip(",")}
    for name in given:
        if name in _REFUSED:
            raise ConfigurationError(f"must not have {name}: {_REFUSED[name]}")
        if name in named:
            raise ConfigurationError(f"says {name} twice, also as a parameter: leave one out")
        if not driver.knows(name):
            raise ConfigurationError(f"has {name}, which is no parameter of libpq: leave it out")
    _verify_places({**named, **given})
    return {**named, **given}, options, pooler


def _pooler(text: str) -> Pooler:
    match text:
        case "" | "session" | "transaction":
            return text
    raise ConfigurationError(
        f"has pooler={text}: write session or transaction, the pool_mode of the pooler that stands "
        "between, or nothing if there is none"
    )


def _verify_places(login: Mapping[str, str]) -> None:
    hosts = login.get("host", "").split(",")
    if not all(hosts) and not login.get("hostaddr") and not login.get("service"):
        raise ConfigurationError(
            "names no host: write one, or ?host=/var/run/postgresql for a socket of this machine"
        )
    for name, read in _READ.items():
        for each in login.get(name, "").split(","):
            if each:
                read(each)
    if not re.fullmatch(r"[0-9]{0,6}", login.get("connect_timeout", "")):
        raise ConfigurationError("has a connect_timeout that is no number of seconds")


def _place(login: Mapping[str, str]) -> str:
    """As people write it."""
    if service := login.get("service"):
        return f"service {service}"
    hosts = (login.get("host") or login["hostaddr"]).split(",")
    ports = login.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    bracketed = (f"[{host}]" if ":" in host else host for host in hosts)
    pairs = zip(bracketed, ports, strict=False)
    return ",".join(f"{host}:{port}" if port else host for host, port in pairs)


def _options(text: str) -> dict[str, str]:
    """What `options` sets: `-c name=value`, `-cname=value`, `--name=value`."""
    words = [re.sub(r"\\(.)", r"\1", word) for word in _TOKEN.findall(text)]
    words += _TOKEN.sub("", text).split()  # a backslash at the end
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = f"-c{words.pop(0)}"
        setting = re.fullmatch(r"(?:-c|--)([\w.-]+)=(.*)", word, re.DOTALL)
        if setting is None:
            raise ConfigurationError(
                "has options that do something else than set a parameter: write -c name=value, "
                "percent-encoded"
            )
        name = setting[1].replace("-", "_")
        if name.casefold() in {each.casefold() for each in (*session.PINNED, *session.OURS)}:
            raise ConfigurationError(
                f"must not set {name} in options: the service sets it itself, and relies on it"
            )
        found[name] = setting[2]
    return found
