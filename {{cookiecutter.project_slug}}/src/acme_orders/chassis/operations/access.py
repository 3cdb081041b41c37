"""Who may look at the operations page, and who may change something by it."""

import base64
import hmac
from ipaddress import ip_address

from starlette.requests import Request

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_LONGEST_NAME = 64  # characters


class Refused(Exception):
    """Somebody may not do what he asks for; the text says what helps."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Access:
    """Asks for OPERATIONS_TOKEN by HTTP's own means: a name and, as the password, the token.

    Without a token this machine may look, and nobody may change anything. Somebody on this machine
    is seen by three things, because each alone can be had from outside: a proxy beside the service
    has its address, and a page of a stranger can have a name that leads to 127.0.0.1.

    Args:
        token: that opens the page; None if there is none.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    def look(self, request: Request) -> str | None:
        """Who asks, if he may look; None for somebody on this machine, where no token is set.

        Raises:
            Refused: he may not.
        """
        if self._token is not None:
            return self._named(request, self._token)
        here = request.client is not None and _loopback(request.client.host)
        forwarded = any(each in request.headers for each in _FORWARDED)
        if forwarded or not here or not _loopback(_host(request)):
            raise Refused(403, "Set OPERATIONS_TOKEN to open this page to other machines.")
        return None

    def known(self, request: Request) -> str:
        """Who asks, if he has the token.

        Raises:
            Refused: he has not, or there is none.
        """
        if (who := self.look(request)) is None:
            raise Refused(403, "Set OPERATIONS_TOKEN to see values and to change something.")
        return who

    def change(self, request: Request) -> str:
        """Who asks, if he has the token and asks from a page of this port.

        A browser sends the token with whatever a stranger's page makes it send; but it says where.

        Raises:
            Refused: he has not, or it is another page.
        """
        who, origin = self.known(request), request.headers.get("origin", "")
        if origin.partition("://")[2] != request.headers.get("host"):
            raise Refused(403, "This was not sent by a page of this port (Origin).")
        return who

    def _named(self, request: Request, token: str) -> str:
        name, password = _given(request)
        if not hmac.compare_digest(password.encode(), token.encode()):
            raise Refused(401, "Your name, and OPERATIONS_TOKEN as the password.")
        if not (name.isprintable() and 0 < len(name.strip()) <= _LONGEST_NAME):
            raise Refused(401, "Your name is written down with what you change: say it.")
        return name.strip()


def claimed(request: Request) -> str:
    """The name that somebody gives, whoever he is; the beginning of it, and of no password."""
    return _given(request)[0][:_LONGEST_NAME]


def _given(request: Request) -> tuple[str, str]:
    """Name and password."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except ValueError:
        given = ""
    name, _, password = given.partition(":")
    return name, password


def _host(request: Request) -> str:
    """What the client calls us, without the port."""
    host = request.headers.get("host", "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
