"""Each secret is a mark, and nothing that a process or a command shows has a part of one.

So is what senders write: it is in no log, metric, span, page or list, only where it is kept.
"""

import asyncio  # feature: http_api
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlsplit

import psutil
import pytest

from acme_orders.chassis.messaging.broker import Message

from dev.ports import free_ports
from dev.virtual_hosts import VirtualHosts
from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.acceptance.test_one_trace import Collector  # feature: tracing
from tests.chassis.acceptance.test_operations_page import Page
from tests.chassis.conftest import PROJECT, Connect, count, eventually, rows, send, sold
from tests.chassis.edge.process import HEADERS, ask  # feature: http_api
from tests.chassis.hostile_passwords import leaks

USER = "marked"
# With what means something in an address, so that whoever shows half of it shows a part.
# No part of one could stand in a trace id or a time: each has a letter beyond f.
MARKS = {
    "DATABASE_URL": "Gk7/zqXv@Hj2%kQx",
    "DATABASE_SESSION_URL": "Xh4/kQzJ@vG9%qZk",
    "MIGRATION_DATABASE_URL": "Jq8/vHxK@zQ3%gVq",
    "BROKER_URL": "Zv6/hKqG@xJ5%zXg",
    "RABBITMQ_MANAGEMENT_URL": "Qx9/jZvH@kG2%xKj",
    "OPERATIONS_TOKEN": "Kz5/gXqV@hJ8%vQz",
    "OTEL_EXPORTER_OTLP_HEADERS": "Vj3/kGxH@zQ9%hXv",  # feature: tracing
}
CONTENTS = {
    "a body": "Xq7vHgZk4jQ",
    "a header of a message": "Hk2zVxGj8qK",
    "the Authorization of a request": "Zg9qKvXh3jV",  # feature: http_api
    "a path or query": "Jv5xQkHz6gG",  # feature: http_api
}
# What is kept of messages and announced to others: of senders, but nothing of ours.
KEPT = (
    "SELECT outbox::text FROM outbox",
    "SELECT concat(dead_letters, convert_from(body, 'UTF8')) FROM dead_letters",
)
COMMANDS = (
    ("doctor",),
    ("migrate", "status"),
    ("retention", "plan"),
    ("dead-letters", "list"),
)
SALES, REFUSED = 5, 2
TOKEN = MARKS["OPERATIONS_TOKEN"]
PAGES = ("/", "/metrics", "/ready", "/live", "/dead-letters")


def marked(name: str, url: str, user: str | None = None, *, port: int | None = None) -> str:
    """This address with the mark as its password."""
    parts = urlsplit(url)
    place = f"{parts.hostname}:{port or parts.port}"
    login = f"{user or parts.username}:{quote(MARKS[name], safe='')}"
    return parts._replace(netloc=f"{login}@{place}").geturl()


def addresses(database_url: str, broker_url: str, *, port: int | None = None) -> dict[str, str]:
    """All that is secret; PostgreSQL trusts everybody, and RabbitMQ's API knows no such user."""
    databases = ("DATABASE_URL", "DATABASE_SESSION_URL", "MIGRATION_DATABASE_URL")
    management = os.environ["RABBITMQ_MANAGEMENT_URL"]
    return {
        **{name: marked(name, database_url, port=port) for name in databases},
        "BROKER_URL": marked("BROKER_URL", broker_url, USER, port=port),
        "RABBITMQ_MANAGEMENT_URL": marked("RABBITMQ_MANAGEMENT_URL", management, "nobody"),
        "OPERATIONS_TOKEN": TOKEN,
    }


class Login:
    """Of the process to RabbitMQ; it can be taken away."""

    def __init__(self, broker_url: str) -> None:
        self._server = VirtualHosts(os.environ["BROKER_URL"], os.environ["RABBITMQ_MANAGEMENT_URL"])
        rights = dict.fromkeys(("configure", "write", "read"), ".*")
        self._server.ask("PUT", f"/api/users/{USER}", {"password": MARKS["BROKER_URL"], "tags": ""})
        host = quote(urlsplit(broker_url).path[1:], safe="")
        self._server.ask("PUT", f"/api/permissions/{host}/{USER}", rights)

    def take_away(self) -> None:
        """RabbitMQ closes all its connections."""
        self._server.ask("DELETE", f"/api/users/{USER}", may_be_absent=True)


@pytest.fixture
def login(broker_url: str) -> Iterator[Login]:
    """It is there."""
    found = Login(broker_url)
    yield found
    found.take_away()


def told(**changes: object) -> Message:
    """A sale with marks in its body and its headers."""
    mark = CONTENTS["a body"]
    sale = sold(buyer_email=f"{mark}@example.com", **changes)
    return replace(sale, headers={**sale.headers, "x-note": CONTENTS["a header of a message"]})


# feature: http_api {
async def asked(port: int) -> list[str]:
    """What the API answers to good and bad requests with marks."""
    mark, where = CONTENTS["a body"], CONTENTS["a path or query"]
    headers = HEADERS | {"Authorization": f"Bearer {CONTENTS['the Authorization of a request']}"}
    good = sold(buyer_email=f"{mark}@example.com").body.replace(b'"sale_id"', b'"more"')
    requests: tuple[tuple[str, str, bytes | None], ...] = (
        ("POST", "/sales", good),
        ("POST", "/sales", good.replace(b'"EUR"', f'"{mark}"'.encode())),
        ("POST", "/sales", f"{mark} is no JSON".encode()),
        ("GET", f"/sales/{where}", None),
        ("GET", f"/sales?cursor={where}", None),
        ("GET", f"/{where}", None),
    )
    answers = [
        await asyncio.to_thread(ask, port, method, path, body, headers)
        for method, path, body in requests
    ]
    assert {each.status for each in answers} >= {202, 404, 422}, answers
    return [f"{each.text} {each.headers}" for each in answers]


# feature: http_api }
@pytest.mark.long
async def test_no_secret_is_shown(
    database_url: str, broker_url: str, login: Login, connect: Connect
) -> None:
    """Not by a process at work or in trouble, not by commands, and not by `ps`."""
    (port,) = free_ports(1)
    own = {"LISTEN_HOST": "127.0.0.1", "OPERATIONS_PORT": "0", "HTTP_PORT": str(port)}
    environment = {"ENVIRONMENT": "test", "LOG_LEVEL": "DEBUG", **own}
    secret = addresses(database_url, broker_url)
    # feature: tracing {
    collector, name = Collector(), "OTEL_EXPORTER_OTLP_HEADERS"
    secret[name] = f"authorization=Bearer%20{quote(MARKS[name], safe='')}"
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.address
    # feature: tracing }
    shown, answered = list[str](), list[str]()

    async def look(page: Page) -> None:
        for path in PAGES:
            for token in (TOKEN, "another"):
                shown.append((await page(path, token=token))[1])

    async with process(environment | secret) as running:
        await running.ready()
        async with connect(broker_url=broker_url) as publisher:

            async def settled() -> bool:
                found = [await count(publisher, table) for table in ("sales", "dead_letters")]
                return found[0] >= SALES and found[1] == REFUSED

            await send(publisher, *(told() for _ in range(SALES)), told(lines=[]))
            await send(publisher, told(currency=CONTENTS["a body"]))
            await eventually(settled)
            answered += await asked(port)  # feature: http_api
            for each in KEPT:
                answered += [text for (text,) in await rows(publisher, each)]
            ((letter,),) = await rows(publisher, "SELECT id FROM dead_letters LIMIT 1")
            shown.append((await Page(running)(f"/dead-letters/{letter}", token=TOKEN))[1])
        assert CONTENTS["a body"] in "".join(answered)
        shown += psutil.Process(running.process.pid).cmdline()
        await look(Page(running))
        login.take_away()
        await running.answers("/ready", 503)
        await look(Page(running))
        await running.ends(signal.SIGTERM)
    shown.append(running.text)
    # feature: tracing {
    assert collector.named("process sale.made")
    shown.append(str(collector.spans))
    collector.server.shutdown()
    collector.server.server_close()
    # feature: tracing }

    nowhere = addresses(database_url, broker_url, port=1)
    wrong = {"DATABASE_URL": f"{secret['DATABASE_URL']}?nonsense=1"}
    for trouble in ({}, nowhere, wrong):
        shown += [_said(environment | secret | trouble, *command) for command in COMMANDS]

    found = {name: leaks(mark, "\n".join([*shown, *answered])) for name, mark in MARKS.items()}
    found |= {name: leaks(mark, "\n".join(shown)) for name, mark in CONTENTS.items()}
    assert not any(found.values()), found


def _said(environment: dict[str, str], *command: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chassis", *command],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
