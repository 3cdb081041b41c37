# feature: http_api
"""One request to the API and what it answers, without a socket."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.types import Message

from acme_orders.chassis.process.by_hand import Content, alone, as_json
from acme_orders.chassis.process.service import Service


@dataclass(frozen=True)
class Reply:
    """What the API answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


async def exchange(
    service: Service,
    method: str,
    path: str,
    content: Content | None,
    headers: Mapping[str, str],
) -> Reply:
    """Ask the API of a service; see `ServiceUnderTest.request`."""
    body = b"" if content is None else as_json(content)
    route, _, query = path.partition("?")
    sent = {
        "host": "testing",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): text for name, text in headers.items()},
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(route),
        "raw_path": route.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in sent.items()],
        "client": ("testing", 0),
        "server": ("testing", 80),
    }
    coming, answered = asyncio.Queue[Message](), list[Message]()
    coming.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def answer(message: Message) -> None:
        answered.append(message)

    # Nothing comes after the request: this client stays until it has its answer.
    await alone(_called(service, scope, coming.get, answer))
    first, *rest = answered
    return Reply(
        first["status"],
        {name.decode(): text.decode("latin-1") for name, text in first["headers"]},
        b"".join(each.get("body", b"") for each in rest),
    )


async def _called(service: Service, *request: Any) -> None:
    await service.api()(*request)
