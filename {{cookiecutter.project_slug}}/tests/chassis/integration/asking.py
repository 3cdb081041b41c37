# feature: http_api
"""A client of the API that sends keys."""

import asyncio
import json
from http.client import HTTPConnection
from typing import Any, NamedTuple

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.slices.sales.messages import SaleForm

FORM = dict(SaleForm.example())


class Given(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


async def ask(
    port: int,
    path: str = "/sales",
    body: Any = FORM,
    key: str | None = "one",
    method: str = "POST",
    **headers: str,
) -> Given:
    """One request, as a client on the network makes it."""
    sent = {"Content-Type": "application/json", "Connection": "close"}
    sent |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {} if key is None else {"Idempotency-Key": key}

    def exchange() -> Given:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, json.dumps(body), sent)
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        del told["date"]
        return Given(answer.status, answer.read(), told)

    return await asyncio.to_thread(exchange)
