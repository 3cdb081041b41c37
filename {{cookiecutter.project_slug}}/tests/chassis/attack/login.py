"""Logins whose passwords are marks: wherever one of them is seen, a secret was shown."""

import asyncio
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from dev.virtual_hosts import VirtualHosts

# Percent-encoded in an address, so that whoever shows half of it shows a part of the mark.
DATABASE_PASSWORD = "pg/seCret@mark#9%1"
BROKER_PASSWORD = "mq/seCret@mark#7%2"
SECRETS = tuple(
    form
    for password in (DATABASE_PASSWORD, BROKER_PASSWORD)
    for form in (password, quote(password, safe=""), password.partition("@")[2])
)
USER = "attacked"


def with_password(url: str) -> str:
    """The address of a database whose server trusts everybody, with our password."""
    parts = urlsplit(url)
    user, place = parts.username or "postgres", parts.netloc.rpartition("@")[2]
    password = quote(DATABASE_PASSWORD, safe="")
    return parts._replace(netloc=f"{user}:{password}@{place}").geturl()


@dataclass(frozen=True)
class Login:
    """To one virtual host; it can be taken away.

    Args:
        broker_url: of an administrator of the virtual host.
        server: that it is on.
    """

    broker_url: str
    server: VirtualHosts

    @property
    def url(self) -> str:
        """For the processes."""
        parts = urlsplit(self.broker_url)
        place = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{USER}:{quote(BROKER_PASSWORD, safe='')}@{place}").geturl()

    async def give(self) -> None:
        """Let the processes in."""
        host = quote(unquote(urlsplit(self.broker_url).path[1:]), safe="")
        rights = dict.fromkeys(("configure", "write", "read"), ".*")
        await self._ask("PUT", f"/api/users/{USER}", {"password": BROKER_PASSWORD, "tags": ""})
        await self._ask("PUT", f"/api/permissions/{host}/{USER}", rights)

    async def take_away(self) -> None:
        """Forget the user; RabbitMQ closes all its connections."""
        await self._ask("DELETE", f"/api/users/{USER}")

    async def _ask(self, method: str, path: str, body: object = None) -> None:
        await asyncio.to_thread(self.server.ask, method, path, body, may_be_absent=True)
