"""Virtual hosts of their own for tests, on any RabbitMQ with the management plugin."""

import base64
import json
import secrets
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, unquote, urlsplit


class VirtualHosts:
    """Creates and drops virtual hosts over the management API of the broker at `broker_url`.

    `management_url` looks like `http://guest:guest@127.0.0.1:15672`; its user is an administrator.
    """

    def __init__(self, broker_url: str, management_url: str) -> None:
        self._broker = urlsplit(broker_url)
        self._management = urlsplit(management_url)

    def create(self, name: str | None = None) -> str:
        """Create a virtual host in which the user of `broker_url` may do all; return its URL."""
        host = quote(name or f"test_{secrets.token_hex(6)}", safe="")
        user = quote(unquote(self._broker.username or "guest"), safe="")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.ask("PUT", f"/api/vhosts/{host}", {})
        self.ask("PUT", f"/api/permissions/{host}/{user}", everything)
        return self._broker._replace(path=f"/{host}").geturl()

    def drop(self, url: str) -> None:
        """Drop a virtual host with its queues and connections; it may be gone already."""
        if urlsplit(url).netloc != self._broker.netloc:
            raise ValueError(f"{url} isn't a virtual host of {self._broker.geturl()}")
        host = quote(unquote(urlsplit(url).path[1:]), safe="")
        self.ask("DELETE", f"/api/vhosts/{host}", may_be_absent=True)

    def ask(
        self, method: str, path: str, body: object = None, *, may_be_absent: bool = False
    ) -> Any:
        """Send one request to the management API; return its answer, None if that is empty.

        OSError means that nobody answers, RuntimeError that the answer is no.
        """
        user = unquote(self._management.netloc.rpartition("@")[0]) or "guest:guest"
        headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
        # Not urllib.request: it sends requests for 127.0.0.1 to the proxy of the environment.
        connection = HTTPConnection(self._management.netloc.rpartition("@")[2], timeout=30)
        try:
            connection.request(
                method, path, json.dumps(body) if body is not None else None, headers
            )
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status < HTTPStatus.BAD_REQUEST:
            return json.loads(text) if text else None
        if may_be_absent and answer.status == HTTPStatus.NOT_FOUND:
            return None
        raise RuntimeError(f"RabbitMQ management, {method} {path}: {answer.status} {text}")
