"""Who may look at the page of the operations port, and who may change something by it."""

import base64

import pytest
from starlette.requests import Request

from acme_orders.chassis.operations.access import Access, Refused

TOKEN = "a token that nobody guesses"
HERE = "127.0.0.1"


def request(client: str = HERE, **headers: str) -> Request:
    """From this address, with these headers."""
    given = {"host": "localhost:9000", **headers}
    encoded = [(key.replace("_", "-").encode(), value.encode()) for key, value in given.items()]
    return Request({"type": "http", "client": (client, 1), "headers": encoded})


def basic(name: str, token: str = TOKEN) -> str:
    """As a browser sends it."""
    return f"Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}"


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "localhost"])
def test_without_a_token_this_machine_may_look(host: str) -> None:
    """And changes nothing, because nobody would know who it was."""
    access = Access(None)
    assert access.look(request(host=host)) is None
    with pytest.raises(Refused, match="OPERATIONS_TOKEN"):
        access.change(request(host=host, origin=f"http://{host}"))


@pytest.mark.parametrize(
    "asked",
    [
        request(client="10.0.0.5"),
        request(client="::ffff:10.0.0.5"),
        request(host="10.0.0.1:9000"),
        request(host="rebound.example:9000"),
        request(host="localhost.example:9000"),
        request(host=""),
        request(x_forwarded_for="10.0.0.5"),
        request(x_real_ip="10.0.0.5"),
        request(forwarded="for=10.0.0.5"),
        request(client="10.0.0.5", authorization=basic("ada")),
    ],
)
def test_without_a_token_nobody_else_may_look(asked: Request) -> None:
    """Not by a proxy on this machine, and not by a page whose name leads to it."""
    with pytest.raises(Refused, match="OPERATIONS_TOKEN") as refused:
        Access(None).look(asked)
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !",
        "Basic /w==",
        f"Bearer {TOKEN}",
        basic("ada", "wrong"),
        basic("ada", ""),
        basic("ada", TOKEN + "x"),
        basic("", TOKEN),
        basic("a\nb", TOKEN),
        basic("a" * 65, TOKEN),
    ],
)
def test_a_token_is_asked_of_everybody(authorization: str) -> None:
    """On this machine too, together with a name that can be written down."""
    with pytest.raises(Refused) as refused:
        Access(TOKEN).look(request(authorization=authorization))
    assert refused.value.status == 401


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "http://localhost:9001", "localhost:9000"]
)
def test_a_page_of_a_stranger_changes_nothing(origin: str) -> None:
    """A browser would send the token with what that page makes it send."""
    with pytest.raises(Refused, match="Origin"):
        Access(TOKEN).change(request(authorization=basic("ada"), origin=origin))


def test_whoever_has_the_token_is_known() -> None:
    """From any machine."""
    asked = request(
        client="10.0.0.5",
        host="ops.example",
        origin="https://ops.example",
        authorization=basic("ada"),
    )
    assert Access(TOKEN).change(asked) == "ada"
