"""What an administrator may do to one virtual host, over RabbitMQ's management API."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import aio_pika

from dev.virtual_hosts import VirtualHosts
from tests.chassis.faults.marks import MARKS, Marks

PASSWORD = MARKS["BROKER_URL"]


class Management:
    """Breaks one virtual host, and sets it right; others on the same server notice nothing.

    Args:
        broker_url: of the virtual host.
        management_url: of the server; its user is an administrator.
    """

    def __init__(self, broker_url: str, management_url: str) -> None:
        self._server = VirtualHosts(broker_url, management_url)
        self._broker = urlsplit(broker_url)
        self._host = quote(unquote(self._broker.path[1:]), safe="")

    async def queues(self) -> dict[str, tuple[Any, list[tuple[str, str]]]]:
        """Arguments and bindings (exchange, routing key) of each queue."""
        queues = await self._ask("GET", f"queues/{self._host}")
        bindings = await self._ask("GET", f"bindings/{self._host}")
        return {
            queue["name"]: (
                queue["arguments"],
                sorted(
                    (each["source"], each["routing_key"])
                    for each in bindings
                    if each["destination"] == queue["name"]
                ),
            )
            for queue in queues
        }

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with all that is in it."""
        await self._ask("DELETE", f"queues/{self._host}/{quote(name, safe='')}")

    async def declare_queue(self, name: str, **arguments: object) -> None:
        """Declare a queue; `queue_type` is the argument `x-queue-type`."""
        found = {f"x-{each.replace('_', '-')}": value for each, value in arguments.items()}
        body = {"durable": True, "arguments": found}
        await self._ask("PUT", f"queues/{self._host}/{quote(name, safe='')}", body)

    async def replace_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Put another queue in the place of this one, so fast that nobody is in between."""
        async with (
            await aio_pika.connect(self._broker.geturl()) as connection,
            connection.channel() as channel,
        ):
            await channel.queue_delete(name)
            await channel.declare_queue(name, durable=True, arguments=dict(arguments))

    async def queue_arguments(self, name: str) -> Any:
        """The arguments of a queue."""
        found = await self._ask("GET", f"queues/{self._host}/{quote(name, safe='')}")
        return found["arguments"]

    async def unbind(self, exchange: str, queue: str, routing_key: str) -> None:
        """Remove a binding."""
        where = f"bindings/{self._host}/e/{exchange}/q/{queue}/{routing_key}"
        await self._ask("DELETE", where)

    async def delete_exchange(self, name: str) -> None:
        """Delete an exchange; all bindings go with it."""
        await self._ask("DELETE", f"exchanges/{self._host}/{name}")

    async def replace_exchange(self, name: str, kind: str, **arguments: object) -> None:
        """Put another exchange in the place of this one."""
        await self.delete_exchange(name)
        found = {each.replace("_", "-"): value for each, value in arguments.items()}
        body = {"type": kind, "durable": True, "arguments": found}
        await self._ask("PUT", f"exchanges/{self._host}/{name}", body)

    async def set_policy(self, pattern: str, kind: str = "queues", **definition: object) -> None:
        """Set the policy `limits` for what has such a name."""
        found = {each.replace("_", "-"): value for each, value in definition.items()}
        body = {"pattern": pattern, "definition": found, "apply-to": kind}
        await self._ask("PUT", f"policies/{self._host}/limits", body)

    async def clear_policy(self) -> None:
        """Remove the policy `limits`."""
        await self._ask("DELETE", f"policies/{self._host}/limits")

    async def limit_queue(self, name: str, length: int | None) -> None:
        """Have a queue refuse more messages than this, or about; None: no longer."""
        path = f"policies/{self._host}/limit-{quote(name, safe='')}"
        limits = {"max-length": length, "overflow": "reject-publish"}
        policy = {"pattern": f"^{name}$", "definition": limits, "apply-to": "queues"}
        await self._ask("DELETE" if length is None else "PUT", path, policy)

    async def admit(
        self, user: str, *, password: str = PASSWORD, allowed: str | None = ".*", tags: str = ""
    ) -> str:
        """Create a user anew, which closes its connections; the URL with the first password.

        Args:
            user: name.
            password: that it needs from now on.
            allowed: pattern of what it may use; None: not even the virtual host.
            tags: such as `management`, with which it may ask the management API.
        """
        await self.dismiss(user)
        await self._ask("PUT", f"users/{user}", {"password": password, "tags": tags})
        if allowed is not None:
            rights = dict.fromkeys(("configure", "write", "read"), allowed)
            await self._ask("PUT", f"permissions/{self._host}/{user}", rights)
        place = self._broker.netloc.rpartition("@")[2]
        return self._broker._replace(netloc=f"{user}:{quote(PASSWORD, safe='')}@{place}").geturl()

    async def dismiss(self, user: str) -> None:
        """Forget a user; RabbitMQ closes its connections at once."""
        await self._ask("DELETE", f"users/{user}", may_be_absent=True)

    async def _ask(
        self, method: str, path: str, body: object = None, *, may_be_absent: bool = False
    ) -> Any:
        return await asyncio.to_thread(
            self._server.ask, method, f"/api/{path}", body, may_be_absent=may_be_absent
        )


@asynccontextmanager
async def marked(management: Management) -> AsyncIterator[Marks]:
    """Marks for all secrets of processes; two are passwords of users of RabbitMQ, made here."""
    marks = Marks(f"test_{uuid4().hex}", f"test_{uuid4().hex}")
    await management.admit(marks.user)
    password = MARKS["RABBITMQ_MANAGEMENT_URL"]
    await management.admit(marks.asking, password=password, tags="management")
    try:
        yield marks
    finally:
        await management.dismiss(marks.user)
        await management.dismiss(marks.asking)
