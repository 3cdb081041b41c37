"""What an address means, and that one which could mean something else is refused."""

import re
from urllib.parse import quote, unquote

import aiormq
import pytest

from acme_orders.chassis.addresses import (
    guessed_password,
    is_placeholder,
    with_path,
)
from acme_orders.chassis.database.address import DatabaseAddress
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.rabbitmq.addresses import nodes

from tests.chassis.hostile_passwords import PASSWORDS, leaks

SCHEMES = ("postgresql", "amqp")
# How an address begins and ends with a password in between.
FRAMES = [
    "{scheme}://me:{password}@server/name",
    "{scheme}://me:{password}@server:1234/name",
    "{scheme}://me:{password}@one:1,two:2/name",
    "{scheme}://me:{password}@[::1]:1234/name",
    "{scheme}://me:{password}@server",
]
UNREADABLE = [
    ("{scheme}://me:pw@server:0/name", "port"),
    ("{scheme}://me:pw@server:70000/name", "port"),
    ("{scheme}://me:pw@server:http/name", "port"),
    ("{scheme}://me:pw@server:\u0665/name", "port"),
    ("{scheme}://me:pw@server:1:2/name", "port"),
    ("{scheme}://me:pw@one:1,two:x/name", "port"),
    ("{scheme}://me:pw@::1/name", "brackets"),
    ("{scheme}://me:pw@[::1/name", "host"),
    ("{scheme}://me:pw@[::x]/name", "host"),
    ("{scheme}://me:pw@[127.0.0.1]/name", "host"),
    ("{scheme}://me:pw@ser!ver/name", "host"),
    ("{scheme}://me:pw@/name", "names no host"),
    ("{scheme}://me:pw@one,,two/name", "names no host"),
    ("{scheme}://", "names no host"),
    ("{scheme}://me:p@w@server/name", "percent-encode"),
    ("{scheme}://me:p/w@server/name", "percent-encode"),
    ("{scheme}://me:p?w@server/name", "percent-encode"),
    ("{scheme}://me:p#w@server/name", "percent-encode"),
    ("{scheme}://me:p%w@server/name", "percent-encode"),
    ("{scheme}://me:p w@server/name", "percent-encode"),
    ("{scheme}://me:pw@server/name\n", "end of a line"),
    ("{scheme}://me:p\u200bw@server/name", "does not print"),
    ("{scheme}://me:p\udcffw@server/name", "does not print"),
    ("{scheme}://me:p%ffw@server/name", "UTF-8"),
    ("{scheme}://me:p%00w@server/name", "%00"),
    ("{scheme}://me:pw@server/name#part", "'#'"),
    ("{scheme}://me:pw@server/name?heartbeat", "name=value"),
    ("{scheme}://me:pw@server/name?x=1&x=2", "twice"),
    ("{scheme}://me:pw@server/name?shibboleth=1", "shibboleth"),
    ("{scheme}:me:pw@server/name", "must begin with"),
    ("mysql://me:pw@server/name", "must begin with"),
    (" {scheme}://me:pw@server/name", "must begin with"),
]


def read(scheme: str, url: str) -> tuple[str, str]:
    """User and password as the driver gets them."""
    if scheme == "amqp":
        node = nodes(url)[0]
        return node.user or "", node.password or ""
    address = DatabaseAddress.parse(url)
    return address.user, address.password


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_is_encoded_is_understood(password: str, scheme: str) -> None:
    """Whatever it has."""
    for frame in FRAMES:
        url = frame.format(scheme=scheme, password=quote(password, safe=""))
        assert read(scheme, url) == ("me", password)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_is_not_encoded_is_understood_or_refused(
    password: str, scheme: str
) -> None:
    """Never taken for something else, and never shown."""
    for frame in FRAMES:
        refusal = None
        try:
            assert read(scheme, frame.format(scheme=scheme, password=password)) == (
                "me",
                unquote(password),
            )
        except ConfigurationError as error:
            refusal = str(error)
        assert refusal is None or "percent-encode" in refusal
        assert leaks(password, refusal or "") == []


@pytest.mark.parametrize(("url", "expected"), UNREADABLE)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_address_that_cannot_be_read_is_refused(scheme: str, url: str, expected: str) -> None:
    """With what helps."""
    with pytest.raises(ConfigurationError, match=expected):
        read(scheme, url.format(scheme=scheme))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://server", {"host": "server"}),
        ("postgres://server/", {"host": "server"}),
        ("postgresql://me@server:/name", {"user": "me", "host": "server", "dbname": "name"}),
        ("postgresql://one:1,two/n", {"host": "one,two", "port": "1,", "dbname": "n"}),
        ("postgresql://one,two:2/n", {"host": "one,two", "port": ",2", "dbname": "n"}),
        ("postgresql://[::1]:1/n", {"host": "::1", "port": "1", "dbname": "n"}),
        ("postgresql://[fe80::1%25eth0]/n", {"host": "fe80::1%eth0", "dbname": "n"}),
        ("postgresql://%2Fvar%2Frun/n", {"host": "/var/run", "dbname": "n"}),
        ("postgresql://me@/n?host=/var/run", {"user": "me", "host": "/var/run", "dbname": "n"}),
        ("postgresql:///n?host=/a,/b&port=1,2", {"host": "/a,/b", "port": "1,2", "dbname": "n"}),
        ("postgresql:///?host=::1", {"host": "::1"}),
        ("postgresql:///n?hostaddr=10.0.0.1", {"hostaddr": "10.0.0.1", "dbname": "n"}),
        ("postgresql://h/?hostaddr=10.0.0.1", {"host": "h", "hostaddr": "10.0.0.1"}),
        ("postgresql://?service=sales", {"service": "sales"}),
        ("postgresql://h/a%2Fb%20c", {"host": "h", "dbname": "a/b c"}),
        ("postgresql://h/?user=a%40b&password=p", {"host": "h", "user": "a@b", "password": "p"}),
        ("postgresql://h/n?sslmode=verify-full", {"sslmode": "verify-full"}),
        ("postgresql://h/n?passfile=/run/pg%20pass", {"passfile": "/run/pg pass"}),
        ("postgresql://h/n?application_name=a%26b", {"application_name": "a&b"}),
        ("postgresql://h/n?target_session_attrs=primary", {"target_session_attrs": "primary"}),
    ],
)
def test_all_that_libpq_knows_reaches_it(url: str, expected: dict[str, str]) -> None:
    """As a part of its own."""
    parameters = DatabaseAddress.parse(url).parameters({})
    assert {name: parameters.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h", "/"),
        ("amqp://h/", "/"),
        ("amqp://h/%2f", "/"),
        ("amqp://h//", "/"),
        ("amqp://h/sales", "sales"),
        ("amqp://h/%2Fsales", "/sales"),
        ("amqp://h/a%2Fb", "a/b"),
        ("amqp://h/a/b", "a/b"),
        ("amqp://h/%C3%A4%20b", "ä b"),
    ],
)
async def test_a_virtual_host_is_what_rabbitmq_calls_it(url: str, expected: str) -> None:
    """Its name may have a slash, and without one it is the slash."""
    assert aiormq.Connection(nodes(url)[0]).vhost == expected


def test_several_nodes_are_several_addresses() -> None:
    """With one login, and their own ports."""
    found = nodes("amqps://me:p%2Fw@one,[::1]:1,three:/v?cafile=/ca%20s.pem")
    assert [(each.host, each.port) for each in found] == [
        ("one", None), ("::1", 1), ("three", None),
    ]  # fmt: skip
    for each in found:
        assert (each.scheme, each.user, each.password) == ("amqps", "me", "p/w")
        assert each.query["cafile"] == "/ca s.pem"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("heartbeat=5", "set HEARTBEAT"),
        ("name=x", "must not have name"),
        ("auth=kerberos", "plain|external"),
        ("timeout=soon", "timeout"),
        ("channel_max=5", "channel_max"),
    ],
)
def test_what_nobody_would_look_at_is_no_parameter_of_a_broker(query: str, expected: str) -> None:
    """Whoever writes it would think that it counts."""
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        nodes(f"amqp://me:pw@server/?{query}")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-c work_mem=64MB", "-c work_mem=64MB"),
        ("-cwork_mem=64MB --random-page-cost=1.1", "-c work_mem=64MB -c random_page_cost=1.1"),
        (r"-c app.name=a\ b\\c", r"-c app.name=a\ b\\c"),
        ("", ""),
    ],
)
def test_options_are_added_to_ours(options: str, expected: str) -> None:
    """They come first, so that ours count."""
    url = f"postgresql://server/name?options={quote(options, safe='')}"
    found = DatabaseAddress.parse(url).parameters({"statement_timeout": "5"})["options"]
    assert found.startswith(f"{expected} -c TimeZone=UTC".strip())
    assert found.endswith("-c statement_timeout=5")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("options=-c search_path%3Dbilling", "space"),
        ("options=-c%20search_path%3Dbilling", "search_path"),
        ("options=-c%20SEARCH_PATH%3Dbilling", "SEARCH_PATH"),
        ("options=--search-path%3Dbilling", "search_path"),
        ("options=-cTimeZone%3DAsia/Tokyo", "TimeZone"),
        ("options=-c%20statement_timeout%3D1", "statement_timeout"),
        ("options=-c%20role%3Dother", "role"),
        ("options=-c%20work_mem", "write -c name=value"),
        ("options=-c", "write -c name=value"),
        ("options=-e", "write -c name=value"),
        ("options=endpoint%3Dx", "write -c name=value"),
        ("options=-cwork_mem%3D1%20%5C", "write -c name=value"),
        ("client_encoding=LATIN1", "client_encoding"),
        ("pooler=statement", "write session or transaction"),
        ("pooler=transaction&options=-c%20work_mem%3D1MB", "set them by ALTER ROLE"),
        ("replication=database", "replication"),
        ("host=other", "host twice"),
        ("user=other", "user twice"),
        ("dbname=other", "dbname twice"),
        ("port=0", "port"),
        ("hostaddr=nowhere", "host"),
        ("connect_timeout=soon", "connect_timeout"),
        ("sslmod=require", "sslmod"),
    ],
)
def test_what_is_ours_or_nobodys_is_refused_by_name(query: str, expected: str) -> None:
    """Nothing is dropped without a word."""
    url = f"postgresql://me@server/name?{query}"
    with pytest.raises(ConfigurationError, match=expected):
        DatabaseAddress.parse(url)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        *(("me", each) for each in ("change-me", "CHANGE-ME", "changeme123", "Change_Me-now")),
        *(("me", each) for each in ("password", "PASSWORD", "secret", "your-password", "Secret1")),
        *(("me", each) for each in ("****", "xxxxxxxx", "123456", "test", "example", "<password>")),
        *((each, each) for each in ("guest", "postgres", "sales", "Qx7$kk9")),
        ("Sales", "sales"),
    ],
)
def test_what_everybody_knows_is_a_placeholder(user: str, password: str) -> None:
    """However it is written."""
    assert is_placeholder(user, password)


@pytest.mark.parametrize("password", ["", "sales-2024!", "Secretariat9", "testament", *PASSWORDS])
def test_others_are_none(password: str) -> None:
    """No password at all is one of those: who logs in by certificate has none."""
    assert not is_placeholder("me", password)


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_is_guessed_where_nothing_else_can_be_read(password: str) -> None:
    """All of it, so that all of it can be taken out of a text."""
    assert guessed_password(f"amqp://me:{password}@server:1/name") == password


@pytest.mark.parametrize("password", PASSWORDS)
def test_another_database_of_the_same_server(password: str) -> None:
    """Whatever the password has in it."""
    login = f"postgresql://me:{quote(password, safe='')}@one:1,two:2"
    for path, query in (("", ""), ("/name", ""), ("/name", "?sslmode=disable")):
        found = DatabaseAddress.parse(with_path(f"{login}{path}{query}", "a/b")).parameters({})
        assert (found["password"], found["dbname"]) == (password, "a/b")
        assert found.get("sslmode", "") == query.partition("=")[2]
