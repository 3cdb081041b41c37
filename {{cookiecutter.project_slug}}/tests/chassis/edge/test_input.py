# feature: http_api
"""What clients send that is no proper request: refused, in one form, at a bounded cost."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from acme_orders.chassis.process.service import Service
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.conftest import Connect, count
from tests.chassis.edge.process import HEADERS, Answer, ask, head
from tests.chassis.edge.service import slice_of_its_own
from tests.chassis.slices.sales.messages import SaleForm

FORM = dict(SaleForm.example())
LARGEST = 1 << 20
Ask = Callable[..., Any]


@pytest.fixture
async def service(connect: Connect) -> AsyncIterator[Service]:
    """The service in memory, with one more slice."""

    def forms(chassis: Chassis[Any]) -> Slice:
        return Slice("forms", routes=partial(slice_of_its_own, chassis.manager))

    async with connect(forms) as connected:
        yield connected


def sale(**changes: Any) -> bytes:
    """The body of a request."""
    return json.dumps({**FORM, **changes}).encode()


def refused(answer: Answer) -> str:
    """The reason in a refusal; every one has this form."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.content.keys() == {"type", "title", "status", "detail", "errors"}
    assert answer.content["status"] == answer.status
    assert isinstance(answer.content["detail"], str)
    assert len(answer.text) < 2000
    return str(answer.content["detail"])


# What is sent, how it is answered, and what the answer names.
BODIES: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"{", 422, "no JSON"),
    "nothing": (b"", 422, "Field required"),
    "null": (b"null", 422, "body"),
    "a text": (b'"a"', 422, "body"),
    "NaN": (sale(made_at=float("nan")), 422, "made_at: a number"),
    "infinity": (sale(extra=float("inf")), 422, "extra: a number"),
    "half a pair": (sale(buyer_email="a\ud800@b"), 422, "buyer_email: a text with half"),
    "NUL": (sale(buyer_email="a\x00@b"), 422, "buyer_email: a text with NUL"),
    "NUL in a key": (json.dumps({**FORM, "a\x00": 1}).encode(), 422, "key"),
    "NUL, nested": (sale(lines=[{"sku": "\x00"}]), 422, "lines.0.sku: a text"),
    "no UTF-8": (b'{"buyer_email": "\xff"}', 422, "no JSON"),
    "UTF-16": (json.dumps(FORM).encode("utf-16"), 422, "no JSON"),
    "a byte sale mark": (b"\xef\xbb\xbf" + json.dumps(FORM).encode(), 422, "no JSON"),
    "deep": (b'{"a":' * 500 + b"1" + b"}" * 500, 422, "no JSON"),
    "a long number": (b'{"quantity": ' + b"1" * 10_000 + b"}", 422, "no JSON"),
    "the end of time": (
        sale(made_at="9999-12-31T23:59:59-14:00"), 422, "made_at: a time",
    ),
    "before time": (sale(made_at="0001-01-01T00:00:00+14:00"), 422, "made_at"),
    "far east": (sale(made_at="2026-01-31T12:00:00+23:59"), 422, "made_at: the"),
    "large": (b" " * (LARGEST + 1), 413, "MAX_BODY_BYTES"),
    "many": (b'{"lines": [' + b"{}," * 340_000 + b"{}]}", 422, "values"),
    "empty lines": (b'{"lines": [' + b"{}," * 8_000 + b"{}]}", 422, "lines.0.sku: Field required"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_refused_with_the_name_of_what_is_wrong(
    service: Service, port: int, name: str
) -> None:
    """It is never an error of the service, and nothing is written."""
    body, status, reason = BODIES[name]
    before = await count(service, "outbox")
    answer = await asyncio.to_thread(ask, port, "POST", "/sales", body)
    assert answer.status == status
    assert reason in refused(answer)
    assert await count(service, "outbox") == before


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/forms/list", [{}] * 10_000, "0.x: Field required"),
        ("/forms/dict", {str(number): {} for number in range(10_000)}, "0.x: Field required"),
        ("/forms/plain", {str(number): 1 for number in range(20_000)}, "things are wrong"),
        ("/forms/two", {"point": {}, "plain": None}, "point.x: Field required"),
        ("/forms/embedded", {"points": [{}] * 10_000}, "points.0.x: Field required"),
        ("/forms/payload", {"points": [{}] * 2_000}, "points.0.x: Field required"),
        ("/forms/payload", {"decimal": "1e200000"}, "decimal: a number"),
        ("/forms/payload", {"number": 2**63}, "number: Input should be less"),
        ("/forms/payload", {"at": "9999-12-31T23:59:59-14:00"}, "at: a time"),
        ("/forms/payload", {"inner": '{"a": "\\u0000"}'}, "a: a text with NUL"),
        ("/forms/payload", {"encoded": ["AA=="]}, "encoded.0: a text with NUL"),
        ("/forms/payload", {"term": {"left": 1, "sign": "/"}}, "term"),
    ],
)
async def test_bodies_of_any_route_are_refused_at_the_first_error(
    port: int, path: str, body: Any, reason: str
) -> None:
    """Whatever their type is: a Payload, a model, or a list of them."""
    answer = await asyncio.to_thread(ask, port, "POST", path, json.dumps(body).encode())
    assert answer.status == 422
    assert reason in refused(answer)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/forms/list", [{"x": 1, "y": 1.5, "name": "a"}], 200),
        ("/forms/two", {"point": {"x": 1, "y": 0, "name": "a"}}, 200),
        ("/forms/payload", {"decimals": ["1.10"], "at": "2026-01-31T12:00:00+15:59"}, 200),
        ("/forms/anything", [1, "a", None], 200),
    ],
)
async def test_good_bodies_of_any_route_get_there(
    port: int, path: str, body: Any, status: int
) -> None:
    """Once, as their route declares them."""
    answer = await asyncio.to_thread(ask, port, "POST", path, json.dumps(body).encode())
    assert answer.status == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sales?cursor=%00", 422),
        ("GET", "/sales?cursor=x", 422),
        ("GET", "/sales?cursor=" + "x" * 5000, 422),
        ("GET", "/forms/value?at=nan", 422),
        ("GET", "/sales?%00=1", 422),
        ("GET", "/sales?limit=" + "9" * 5000, 422),
        ("GET", "/sales/%00", 422),
        ("GET", "/sales/%ff%fe", 422),
        ("GET", "/sales/..%2f..%2fetc", 404),
        ("GET", "//sales", 404),
        ("GET", "/sales/", 404),
        ("GET", "/sales//", 404),
        ("GET", "/%0d%0aX-Bad:%201", 404),
        ("GET", "/" + "a" * 8000, 404),
        ("GET", "/forms/value?at=2026-01-31T12:00:00%2B23:59", 422),
        ("GET", "/forms/value?number=9223372036854775808", 422),
        ("GET", "/forms/value?text=%00", 422),
        ("GET", "/forms/value?text=%ed%a0%80", 200),
        ("GET", "/forms/query?" + "ids=x&" * 2500, 422),
        ("PUT", "/sales", 405),
        ("DELETE", "/sales", 405),
        ("OPTIONS", "/sales", 405),
        ("BREW", "/sales", 405),
        ("GET", "/forms/bug", 500),
    ],
)
async def test_every_refusal_has_one_form(port: int, method: str, path: str, status: int) -> None:
    """Whatever is wrong: an address, a method, a value that PostgreSQL does not take."""
    answer = await asyncio.to_thread(ask, port, method, path)
    assert answer.status == status
    if status >= 400:
        refused(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/xml"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/json-seq"},
        {"Content-Type": "text/json"},
        {"Content-Type": "application/x; as=application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": None},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_a_body_of_another_kind_is_refused(port: int, headers: dict[str, str | None]) -> None:
    """It is no sale, whatever it is."""
    sent = {name: value for name, value in {**HEADERS, **headers}.items() if value is not None}
    send = partial(ask, port, "POST", "/sales", sale(), sent)
    answer = await asyncio.to_thread(send)
    assert answer.status == 415
    refused(answer)


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=\xff", "Application/JSON ;x", "application/vnd.sale+json;v=1"],
)
async def test_json_has_many_names(port: int, kind: str) -> None:
    """With parameters, in capitals, and of a kind of its own; what is none is told as such."""
    for body, status in ((sale(), 202), (b"\x1f\x8b\x08", 422)):
        headers = {**HEADERS, "Content-Type": kind}
        answer = await asyncio.to_thread(ask, port, "POST", "/sales", body, headers)
        assert answer.status == status


async def test_a_method_that_a_path_has_not_is_answered_with_those_that_it_has(port: int) -> None:
    """All of them, though each has a route of its own."""
    for path, methods in (("/sales", "GET, POST"), ("/sales/1", "GET"), ("/docs", "GET, HEAD")):
        answer = await asyncio.to_thread(ask, port, "PUT", path)
        assert (answer.status, sorted(answer.headers["allow"].split(", "))) == (
            405,
            methods.split(", "),
        )


async def test_a_head_is_answered_without_a_body(port: int) -> None:
    """As HTTP demands, also of a refusal."""
    answer = await asyncio.to_thread(ask, port, "HEAD", "/sales")
    assert (answer.status, answer.text) == (405, "")


async def test_what_comes_in_a_cookie_is_looked_at_too(port: int) -> None:
    """Its octal escapes may be a NUL."""
    value = partial(ask, port, "GET", "/forms/query")
    answer = await asyncio.to_thread(value, headers={"Cookie": 'crumb="\\000"'})
    assert answer.status < 500


async def test_a_request_uses_one_connection_from_its_first_statement_to_its_answer(
    service: Service, port: int
) -> None:
    """Of whatever slice it is; one that needs no statement uses none."""

    def uses() -> float | None:
        name = "db_client_connection_use_time_seconds_count"
        return service.metrics.registry.get_sample_value(name)

    expected = uses() or 0  # of the start
    for path, connections in (("/forms/twice", 1), ("/docs", 0), ("/nowhere", 0), ("/sales", 1)):
        await asyncio.to_thread(ask, port, "GET", path)
        expected += connections
        assert uses() == expected


def exchange(port: int, sent: bytes) -> bytes:
    """Everything that comes back for this, until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(sent)
        received = b""
        while more := client.recv(65_536):
            received += more
    return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no HTTP at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # without a host
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20), 400),  # TLS
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\na: \x00\r\n\r\n", 400),
        (b"POST /sales HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST /sales HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (head("POST", "/sales", Content_Length=str(LARGEST + 1)), 413),
        (head("POST", "/sales", Content_Length=str(LARGEST + 1), Expect="100-continue"), 413),
        (head("POST", "/sales", Transfer_Encoding="chunked") + b"zz\r\n", 400),
        (head("POST", "/sales", Transfer_Encoding="chunked") + b"1\r\na\r\n" * 2000, 400),
        (
            head("POST", "/sales", Transfer_Encoding="chunked")
            + b"100000\r\n"
            + bytes(LARGEST)
            + b"\r\n1\r\n1\r\n",
            413,
        ),
        (head("GET", "/sales", Content_Length=str(LARGEST + 1)), 413),
        (
            head(
                "POST",
                "/sales",
                Upgrade="websocket",
                Connection="Upgrade, close",
                Content_Length="0",
            ),
            422,
        ),
    ],
)
async def test_what_is_no_http_or_too_much_of_it_is_refused(
    port: int, sent: bytes, status: int
) -> None:
    """In the same form, and then the connection ends."""
    received = await asyncio.to_thread(exchange, port, sent)
    assert received.startswith(b"HTTP/1.1 %d " % status), received[:200]
    content = json.loads(received.partition(b"\r\n\r\n")[2])
    assert isinstance(content["detail"], str)
