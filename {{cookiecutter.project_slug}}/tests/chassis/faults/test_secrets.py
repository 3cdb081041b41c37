"""Each secret is a mark, and nothing that a process or a command shows has a part of one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import psutil
import pytest

from dev.virtual_hosts import VirtualHosts
from tests.chassis.acceptance.test_lifecycle import process
from tests.chassis.acceptance.test_operations_page import Page
from tests.chassis.conftest import PROJECT, Connect, send, sold
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
}
COMMANDS = (
    ("doctor",),
    ("migrate", "status"),
    ("retention", "plan"),
    ("dead-letters", "list"),
)
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
        "OPERATIONS_TOKEN": MARKS["OPERATIONS_TOKEN"],
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


@pytest.mark.long
async def test_no_secret_is_shown(
    database_url: str, broker_url: str, login: Login, connect: Connect
) -> None:
    """Not by a process at work or in trouble, not by commands, and not by `ps`."""
    own = {"LISTEN_HOST": "127.0.0.1", "OPERATIONS_PORT": "0", "HTTP_PORT": "0"}
    environment = {"ENVIRONMENT": "test", "LOG_LEVEL": "DEBUG", **own}
    secret = addresses(database_url, broker_url)
    shown = list[str]()

    async def look(page: Page) -> None:
        for path in PAGES:
            for token in (MARKS["OPERATIONS_TOKEN"], "another"):
                shown.append((await page(path, token=token))[1])

    async with process(environment | secret) as running:
        await running.ready()
        async with connect(broker_url=broker_url) as publisher:
            await send(publisher, *(sold() for _ in range(5)))
        shown += psutil.Process(running.process.pid).cmdline()
        await look(Page(running))
        login.take_away()
        await running.answers("/ready", 503)
        await look(Page(running))
        await running.ends(signal.SIGTERM)
    shown.append(running.text)

    nowhere = addresses(database_url, broker_url, port=1)
    wrong = {"DATABASE_URL": f"{secret['DATABASE_URL']}?nonsense=1"}
    for trouble in ({}, nowhere, wrong):
        shown += [_said(environment | secret | trouble, *command) for command in COMMANDS]

    found = {name: leaks(mark, "\n".join(shown)) for name, mark in MARKS.items()}
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
