"""The page of the operations port, of a real process: what it shows, and what is done by it."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest

from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.process.service import Service

from tests.chassis.acceptance.test_lifecycle import Running, process
from tests.chassis.conftest import Connect, count, eventually, rows, send, sold
from tests.chassis.integration.dead_letter_queue import archived, failed

TOKEN = "a-token-that-nobody-guesses"
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&\u202e"
SECRET = "mrs.secret@example.com"


@dataclass(frozen=True)
class Page:
    """Asks the port of a process as a browser does."""

    running: Running

    @property
    def port(self) -> int:
        """Of the process."""
        return int(self.running.said("service.ready")["port"])

    async def __call__(
        self, path: str, form: dict[str, str] | None = None, token: str = TOKEN, **headers: str
    ) -> tuple[int, str]:
        """The answer; a form is posted."""
        known = base64.b64encode(f"ada:{token}".encode()).decode()
        sent = {"Authorization": f"Basic {known}", "Connection": "close"}
        if form is not None:
            sent["Origin"] = f"http://127.0.0.1:{self.port}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}

        def exchange() -> tuple[int, str]:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
            body = None if form is None else urlencode(form)
            connection.request("GET" if form is None else "POST", path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            return answer.status, text

        return await asyncio.to_thread(exchange)


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """Our own view of the same database and broker."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


@pytest.fixture
def environment(database_url: str, broker_url: str) -> dict[str, str]:
    """Settings of a process on servers of this test."""
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "LISTEN_HOST": "127.0.0.1",
        "OPERATIONS_PORT": "0",
        "HTTP_PORT": "0",
        "OPERATIONS_TOKEN": TOKEN,
    }


@pytest.fixture
async def page(environment: dict[str, str]) -> AsyncIterator[Page]:
    """Of a process that runs."""
    async with process(environment) as running:
        await running.ready()
        yield Page(running)


def hostile() -> Message:
    """A dead letter in which everything that can be chosen from outside is markup."""
    message = failed(body=json.dumps({HOSTILE: SECRET, "n": [1, True, None]}).encode())
    told = {"dl-reason": HOSTILE, "dl-error-type": HOSTILE, "dl-error-message": HOSTILE}
    headers = {**message.headers, **told, "dl-fingerprint": HOSTILE, f"x-{HOSTILE}": HOSTILE}
    return replace(message, headers=headers, message_id=HOSTILE, type=HOSTILE, app_id=HOSTILE)


def good(fingerprint: str) -> Message:
    """A dead letter whose cause is gone: it can be processed."""
    message, sale = failed(), sold()
    headers = {**message.headers, "dl-fingerprint": fingerprint}
    return replace(message, headers=headers, body=sale.body, message_id=sale.message_id)


async def test_all_that_comes_from_outside_is_a_text(page: Page, service: Service) -> None:
    """On each page, with and without values; without, none of them is there."""
    await archived(service, hostile())
    ((identity,),) = await rows(service, "SELECT id FROM dead_letters")
    where = [
        "/",
        f"/dead-letters?{urlencode({'fingerprint': HOSTILE})}",
        f"/dead-letters?{urlencode({'reason': 'unknown', 'type': HOSTILE})}",
        f"/dead-letters/{identity}",
        f"/dead-letters/{identity}?values=yes",
    ]
    for path in where:
        status, text = await page(path)
        assert status == 200, text
        assert not re.search(r"<(?:script|img)|onerror=\W*alert\(1\)\W*>\s*\"'", text), path
        assert "\u202e" not in text
        assert (SECRET in text) == path.endswith("values=yes")
    assert "&lt;script&gt;" in text
    assert (await page.running.says("dead_letters.values_shown"))["who"] == "ada"


async def test_what_is_replayed_is_processed(page: Page, service: Service) -> None:
    """A group and a single one; who did it is in the log and in the database."""
    await archived(service, *(good("group") for _ in range(3)), good("single"))
    status, text = await page("/dead-letters?fingerprint=group")
    assert "3 dead letters wait" in text
    status, text = await page("/dead-letters/replay", {"fingerprint": "group"})
    assert (status, "3 replayed" in text) == (200, True), text
    ((single,),) = await rows(service, "SELECT id FROM dead_letters WHERE state = 'waiting'")
    assert "1 replayed" in (await page("/dead-letters/replay", {"id": str(single)}))[1]
    await eventually(lambda: stored(service, 4))
    found = await rows(service, "SELECT DISTINCT state, note FROM dead_letters")
    assert found == [("replayed", "by ada")]
    told = await page.running.says("dead_letters.replayed")
    assert (told["who"], told["replayed"]) == ("ada", 3)
    assert "none" in (await page("/"))[1]


async def test_what_is_edited_is_processed_and_nothing_else_is_lost(
    page: Page, service: Service
) -> None:
    """It can be edited where all of it is shown; the letter stays as it was, with who and why."""
    odd = {"note": f"\u202e{HOSTILE}", "exact": "1.10", "more": 10**30}
    sale = {**json.loads(sold().body), **odd}
    wrong = json.dumps({**sale, "currency": "euro"}, ensure_ascii=False).replace('"1.10"', "1.10")
    await archived(service, failed(body=wrong.encode()))
    ((identity,),) = await rows(service, "SELECT id FROM dead_letters")
    assert "<textarea" not in (await page(f"/dead-letters/{identity}"))[1]
    _, text = await page(f"/dead-letters/{identity}?values=yes")
    (shown,) = re.findall(r"<textarea[^>]*>(.*)</textarea>", text, re.DOTALL)
    edited = unescape(shown)
    assert json.loads(edited) == json.loads(wrong)
    assert '"exact": 1.10,' in edited

    form = {"id": str(identity), "body": edited, "note": "typed by hand"}
    path = "/dead-letters/edit"
    status, text = await page(path, form)
    assert (status, "currency" in text) == (422, True), text
    assert (await page(path, {**form, "body": "{"}))[0] == 422
    mended = {**form, "body": edited.replace('"euro"', '"EUR"')}
    assert (await page(path, {**mended, "note": " "}))[0] == 400
    assert (await page(path, {**mended, "id": "1"}))[0] == 400
    assert (await page(path, {**mended, "more": "x" * 10**6}))[0] == 413
    assert (await page(path, mended, Origin="http://evil.example"))[0] == 403
    assert (await page(path, mended, token="wrong-wrong-wrong"))[0] == 401
    assert await rows(service, "SELECT state FROM dead_letters") == [("waiting",)]
    assert "replayed" in (await page(path, mended))[1]
    await eventually(lambda: stored(service, 1))

    ((state, note, body),) = await rows(
        service, "SELECT state, note, convert_from(body, 'UTF8') FROM dead_letters"
    )
    assert (state, note, body) == ("replayed", "edited by ada: typed by hand", wrong)
    told = await page.running.says("dead_letters.edited")
    assert (told["who"], told["id"], told["why"]) == ("ada", str(identity), "typed by hand")
    assert "body" not in told
    assert "passed over" in (await page(path, mended))[1]


async def test_what_is_not_shown_is_counted(page: Page, service: Service) -> None:
    """Of more groups than stand there; those of a stranger are one, which leads to all of it."""
    strange = [
        replace(good("f"), headers={**failed().headers, "dl-reason": "unknown_type"}, type=f"t.{n}")
        for n in range(2)
    ]
    await archived(service, *strange, *(good(f"f-{n}") for n in range(52)))
    _, text = await page("/")
    assert "54 dead letters in 53 groups" in text
    assert "and 3 more groups: <code>dead-letters list --limit 53</code>" in text
    assert "/dead-letters?reason=unknown_type&amp;fingerprint=f-1" in text
    assert "2 dead letters wait" in (await page("/dead-letters?reason=unknown_type"))[1]


async def stored(service: Service, sales: int) -> bool:
    """Whether there are so many."""
    return await count(service, "sales") == sales


async def test_what_is_discarded_says_why_and_who(page: Page, service: Service) -> None:
    """It stays stored; without a reason nothing happens."""
    await archived(service, good("f"))
    assert (await page("/dead-letters/discard", {"fingerprint": "f"}))[0] == 400
    form = {"fingerprint": "f", "note": HOSTILE}
    assert (await page("/dead-letters/discard", form))[0] == 200
    found = await rows(service, "SELECT id, state, note FROM dead_letters")
    assert [each[1:] for each in found] == [("discarded", f"{HOSTILE} (ada)")]
    _, text = await page(f"/dead-letters/{found[0][0]}")
    assert "<script" not in text
    assert "/dead-letters/replay" not in text


async def test_nobody_else_changes_anything(page: Page, service: Service) -> None:
    """Without the token, from a page of a stranger, by a link, or with more than a form."""
    await archived(service, good("f"))
    form = {"fingerprint": "f", "note": "why"}
    for path in ("/dead-letters/replay", "/dead-letters/discard"):
        assert (await page(path, form, token="wrong-wrong-wrong"))[0] == 401
        assert (await page(path, form, Authorization=""))[0] == 401
        assert (await page(path, form, Origin="http://evil.example"))[0] == 403
        assert (await page(path, form, Origin=""))[0] == 403
        assert (await page(path))[0] == 405
        assert (await page(path, {"note": "all"}))[0] == 400
        assert (await page(path, {"id": "1", "note": "why"}))[0] == 400
        assert (await page(path, {**form, "more": "x" * 5000}))[0] == 413
    assert (await page("/", token="wrong-wrong-wrong"))[0] == 401
    assert await rows(service, "SELECT state FROM dead_letters") == [("waiting",)]


async def test_what_is_refused_is_told_of_with_who_and_from_where(page: Page) -> None:
    """Guessing fills no log, and no token stands there; a browser asks without a name first."""

    def told() -> list[dict[str, Any]]:
        return [each for each in page.running.log if each["event"] == "operations.refused"]

    assert (await page("/", Authorization=""))[0] == 401
    form = {"fingerprint": "f"}
    assert (await page("/dead-letters/discard", form))[0] == 400
    await eventually(told)
    (refused,) = told()
    assert (refused["who"], refused["status"], refused["address"]) == ("ada", 400, "127.0.0.1")
    assert refused["asked"] == "POST /dead-letters/discard"
    for number in range(30):
        path = "/" if number % 2 else "/dead-letters/discard"
        sent = None if number % 2 else form
        assert (await page(path, sent, token="wrong-wrong-wrong"))[0] == 401
    await eventually(lambda: len(told()) > 2)
    guessed = told()[1]
    assert (guessed["who"], guessed["status"]) == ("ada", 401)
    assert len(told()) < 25
    assert "wrong-wrong" not in page.running.text


async def test_mistakes_of_who_asks_are_no_faults(page: Page, service: Service) -> None:
    """What is unknown, has a NUL, or ends half way; nothing of it is a failed statement."""
    await archived(service, good("f"))
    for path in ("/dead-letters/discard", "/dead-letters/replay"):
        status, text = await page(path, {"id": str(UUID(int=1)), "note": "why"})
        assert (status, "unknown" in text) == (404, True), text
    assert (await page("/dead-letters/discard", {"fingerprint": "f", "note": "a\0"}))[0] == 400
    assert (await page("/dead-letters?type=%00"))[0] == 400

    known = base64.b64encode(f"ada:{TOKEN}".encode()).decode()
    lines = ["POST /dead-letters/discard HTTP/1.1", f"Host: 127.0.0.1:{page.port}"]
    lines += [f"Origin: http://127.0.0.1:{page.port}", f"Authorization: Basic {known}"]
    _, writer = await asyncio.open_connection("127.0.0.1", page.port)
    writer.write("\r\n".join((*lines, "Content-Length: 99", "", "id=")).encode())
    await writer.drain()
    writer.close()
    why = "The form came no further than half way."
    await eventually(lambda: any(each.get("why") == why for each in page.running.log))
    _, text = await page("/metrics")
    assert not re.search(r'http_requests_total{[^}]*status="5xx"} [1-9]', text)
    assert not re.search(r'db_operation\w*_count{[^}]*"error"[^}]*} [1-9]', text)
    assert "Traceback" not in page.running.text


async def test_without_a_token_this_machine_only_looks(
    environment: dict[str, str], service: Service
) -> None:
    """And sees no values; another machine sees nothing. Probes and metrics are as always."""
    await archived(service, good("f"))
    ((identity,),) = await rows(service, "SELECT id FROM dead_letters")
    del environment["OPERATIONS_TOKEN"]
    async with process(environment) as running:
        await running.ready()
        page = Page(running)
        for path in ("/", "/dead-letters?fingerprint=f", f"/dead-letters/{identity}"):
            assert (await page(path))[0] == 200
            assert (await page(path, Host="rebound.example"))[0] == 403
            assert (await page(path, X_Forwarded_For="10.0.0.5"))[0] == 403
        assert (await page(f"/dead-letters/{identity}?values=yes"))[0] == 403
        assert (await page("/plan?query=sales.add"))[0] == 403
        assert (await page("/dead-letters/replay", {"fingerprint": "f"}))[0] == 403
        assert (await page("/live", Host="rebound.example"))[0] == 200
    assert await rows(service, "SELECT state FROM dead_letters") == [("waiting",)]


async def test_a_query_is_shown_with_its_plan(page: Page, service: Service) -> None:
    """Those of messages too, and whatever else the page leads to; nothing of an example stays."""
    await send(service, sold())
    await eventually(lambda: stored(service, 1))
    links = set[str]()

    async def shown() -> bool:
        links.update(re.findall(r'href="(/plan\?query=[\w.]+)"', (await page("/"))[1]))
        return any("sales.add" in each for each in links)

    await eventually(shown)
    assert "Statements of the service" not in (await page("/"))[1]  # this server counts none
    for path in sorted({*links, "/plan?query=sales.by_id"}):
        status, text = await page(path)
        assert (status, "cost=" in text) == (200, True), (path, text)
    assert (await page.running.says("operations.plan_shown"))["who"] == "ada"
    assert await count(service, "sales") == 1
    assert (await page("/plan?query=sales.nothing"))[0] == 404
    assert (await page("/plan?query=sales.add", token="wrong-wrong-wrong"))[0] == 401


async def test_who_has_to_be_erased_is_shown(page: Page, service: Service) -> None:
    """What is due first comes first, marked if it is late and nobody holds it; no ended one."""
    entered = "INSERT INTO erasure_request (id, digest, actor, trace_id, state, error, due_at)"
    for number, (state, hours) in enumerate([("failed", -1), ("held", -2), ("received", 30)]):
        values = f"md5('{number}')::uuid, repeat('a', 64), 'x', repeat('b', 32), '{state}', '<why>'"
        due = f"now() + make_interval(hours => {hours})"
        await rows(service, f"{entered} VALUES ({values}, {due}) RETURNING 1")
    await rows(
        service,
        "INSERT INTO erasure_request (id, digest, actor, trace_id, state, due_at, ended_at) "
        "VALUES (md5('3')::uuid, repeat('a', 64), 'x', repeat('b', 32), 'verified', now(), now()) "
        "RETURNING 1",
    )
    _, text = await page("/")
    found = re.findall(r"<td>(\w+)</td><td><time>[^<]*</time></td><td><span class=.(\w+)", text)
    assert found == [("held", "ok"), ("failed", "bad"), ("received", "ok")]
    assert "&lt;why&gt;" in text


async def test_the_page_says_what_there_is(page: Page, service: Service) -> None:
    """Parts, queues, outbox, retention and schema, with what is pending."""
    newest = "SELECT max(id) FROM schema_migrations WHERE id LIKE 'chassis/%'"
    await rows(service, f"DELETE FROM schema_migrations WHERE id = ({newest}) RETURNING 1")

    async def all_there() -> bool:
        status, text = await page("/")
        assert status == 200
        queue = "acme-orders.dead-letters"
        wanted = ("relay", queue, "to be published", "inbox", "pending")
        lacking[:] = [each for each in wanted if f">{each}" not in text]
        return not lacking

    lacking = [""]
    try:
        await eventually(all_there)
    except TimeoutError:
        assert lacking == []


async def test_where_no_broker_is_nothing_is_replayed(
    environment: dict[str, str], service: Service
) -> None:
    """It would be lost in the memory of a process that talks to PostgreSQL alone."""
    await archived(service, good("f"))
    async with process(environment, "--only", "retention") as running:
        await running.ready()
        assert (await Page(running)("/dead-letters/replay", {"fingerprint": "f"}))[0] == 409
    assert await rows(service, "SELECT state FROM dead_letters") == [("waiting",)]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium is installed")
async def test_a_browser_runs_nothing_that_a_message_says(
    page: Page, service: Service, tmp_path: Path
) -> None:
    """In Chromium: the markup of a message is a text of the page, and the picture shows it."""
    await archived(service, hostile())
    url = f"http://ada:{TOKEN}@127.0.0.1:{page.port}/dead-letters?fingerprint={quote(HOSTILE)}"
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}")

    def browse(*what: str) -> Any:
        command = ["chromium", *options, *what, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    text = (await asyncio.to_thread(browse, "--dump-dom")).stdout
    assert "1 dead letters wait" in text
    assert "<script" not in text
    assert "<img" not in text
