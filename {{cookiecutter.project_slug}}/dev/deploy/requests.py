# feature: http_api
"""Requests to each process while a deploy goes on."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from uuid import uuid4

from dev.deploy.fleet import Fleet, Member
from readiness.two_tenants import TENANT  # feature: row, rls, schema


class Requests:
    """Sends each route of each process the example of its body.

    `answered` says how many were; `refused` has those that a process answered with an error of its
    own.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self.answered = fleet, 0
        self.refused: list[str] = []

    async def run(self) -> None:
        """Send requests to each process that runs, until it is cancelled."""
        while True:
            for member in self._fleet.running():
                await asyncio.to_thread(self._ask, member)
            await asyncio.sleep(0.5)

    def _ask(self, member: Member) -> None:
        """Each route once, with the example of its body."""
        document = _request(member.http, "GET", "/openapi.json")[1]
        for path, methods in (json.loads(document)["paths"] if document else {}).items():
            for method, route in methods.items():
                if member.told:
                    return
                body = _example(route, json.loads(document))
                filled = "/".join(
                    str(uuid4()) if part.startswith("{") else part for part in path.split("/")
                )
                status, text = _request(member.http, method.upper(), filled, body)
                self.answered += bool(status)
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not member.told:
                    said = f"{method.upper()} {path}: {status} {text[:200]}"
                    self.refused.append(f"{member.release.name}: {said}")


def _example(route: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    content = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    known = document.get("components", {}).get("schemas", {}).get(name, schema)
    return next(iter(known.get("examples", ())), None)


def _request(port: int, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Status and body of an answer; 0 if there is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json"}
    headers["X-Tenant-ID"] = str(TENANT)  # feature: row, rls, schema
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, HTTPException):  # it is being stopped, or was killed
        return 0, ""
    finally:
        connection.close()
