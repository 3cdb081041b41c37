"""RabbitMQ's management API: it alone shows bindings and policies."""

import asyncio
import base64
import http.client
import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from acme_orders.chassis.errors import BrokerUnavailable
from acme_orders.chassis.messaging.topology import MISSING, State
from acme_orders.chassis.rabbitmq.addresses import management_address
from acme_orders.chassis.rabbitmq.differences import (
    of_arguments,
    of_bindings,
    of_exchange,
    of_policy,
)

_TIMEOUT = 2.0  # seconds; the thread that waits for an answer can't be cancelled


class Management:
    """Reads one virtual host.

    Args:
        url: `http://user:password@host:port`; the user needs the tag `management`.
        virtual_host: that the service uses.
    """

    def __init__(self, url: str, virtual_host: str) -> None:
        found = management_address(url)
        ((self._host, port),) = found.hosts
        self._secure = found.scheme == "https"
        self._port = port or (http.client.HTTPS_PORT if self._secure else http.client.HTTP_PORT)
        self._path = quote(f"/{found.path}".rstrip("/"))
        self._virtual_host = quote(virtual_host, safe="")
        login = base64.b64encode(f"{found.user}:{found.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}

    async def complete(self, state: State, exchange: str) -> State:
        """The same state with all that differs: arguments, policies, bindings.

        Raises:
            BrokerUnavailable: no answer, no permission, or it knows another RabbitMQ.
        """
        if MISSING in state.problems:
            return state
        if state.queue is None:
            found = await self._ask("exchanges", state.name)
            policy = found.get("policy")
            definition = (await self._ask("policies", policy))["definition"] if policy else {}
            return replace(state, problems=(*state.problems, *of_exchange(policy, definition)))
        found = await self._ask("queues", state.name)
        arguments = {**found["arguments"], "x-queue-type": found["type"]}
        policies = ", ".join(filter(None, (found.get("policy"), found.get("operator_policy"))))
        definition = found.get("effective_policy_definition") or {}
        bindings = await self._ask("queues", state.name, "bindings")
        there = {(each["source"], each["routing_key"]) for each in bindings}
        return replace(
            state,
            problems=(
                # RabbitMQ says only the first difference when it refuses a declaration.
                *(tuple(of_arguments(state.queue, arguments)) or state.problems),
                *of_policy(state.queue, policies, definition),
                *of_bindings(state.queue, exchange, there),
            ),
        )

    async def _ask(self, kind: str, *names: str) -> Any:
        path = "/".join(quote(name, safe="") for name in names)
        try:
            return await asyncio.to_thread(self._get, f"/api/{kind}/{self._virtual_host}/{path}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BrokerUnavailable(
                f"the management API at {self._host} (RABBITMQ_MANAGEMENT_URL) does not show "
                f"{kind} {path}: {str(error) or repr(error)}"
            ) from error

    def _get(self, path: str) -> Any:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request("GET", self._path + path, headers=self._headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise OSError(f"it answers {answer.status} {answer.reason}")
        return json.loads(text)
