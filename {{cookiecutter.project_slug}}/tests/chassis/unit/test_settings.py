"""What settings are refused, and that none of them is shown that is secret."""

import re
from typing import Any
from urllib.parse import quote

import pytest

from acme_orders.chassis.errors import ConfigurationError

from tests.chassis.hostile_passwords import PASSWORDS, leaks
from tests.chassis.service import SERVICE
from tests.conftest import PROJECT

GOOD = {
    "database_url": "postgresql://login:Qx7-kzv@server/name",
    "broker_url": "amqp://me:Gk7-zqx@server/",
    "rabbitmq_management_url": None,  # whatever the servers of these tests say
}
PLACEHOLDERS = [
    ("database_url", "postgresql://me:change-me@server/name"),
    ("database_url", "postgresql://me:CHANGE-ME@server/name"),
    ("database_url", "postgresql://postgres:postgres@server/name"),
    ("database_url", "postgresql://me@server/name?password=secret"),
    ("database_session_url", "postgresql://me:password@server/name"),
    ("migration_database_url", "postgresql://owner:password@server/name"),
    ("broker_url", "amqp://guest:guest@server/"),
    ("broker_url", "amqp://server/"),  # aiormq logs in as guest then
    ("broker_url", "amqp://me@server/"),
    ("broker_url", "amqp://me:@server/"),
    ("broker_url", "amqps://me:%73ecret@one,two/"),
    ("rabbitmq_management_url", "http://guest:guest@server:15672"),
]
WITHOUT_PASSWORD = [
    ("database_url", "postgresql:///name?host=/var/run/postgresql"),
    ("database_url", "postgresql://me@server/name?sslcert=/c&sslkey=/k&sslmode=verify-full"),
    ("database_url", "postgresql://me@server/name?passfile=/run/pgpass"),
    ("database_url", "postgresql://me@server/name"),
    ("database_url", "postgresql://?service=sales"),
    ("migration_database_url", "postgresql://owner@server/name"),
    ("broker_url", "amqps://server/?auth=external&certfile=/c&keyfile=/k"),
    ("broker_url", "memory://"),
    ("rabbitmq_management_url", "https://me@server"),
]


def load(**changes: Any) -> Any:
    """Settings of production, with these changes."""
    return SERVICE.load_settings(_env_file=None, **({"environment": "production"} | GOOD | changes))


@pytest.mark.parametrize(("name", "url"), PLACEHOLDERS)
def test_production_refuses_what_everybody_knows(name: str, url: str) -> None:
    """Naming the variable, and what helps on one's own machine."""
    with pytest.raises(ConfigurationError, match=f"^{name.upper()} .*ENVIRONMENT=development"):
        load(**{name: url})
    assert load(environment="development", **{name: url})


@pytest.mark.parametrize(("name", "url"), WITHOUT_PASSWORD)
def test_a_login_without_a_password_is_no_placeholder(name: str, url: str) -> None:
    """A certificate, a socket, a password file or a token of a cloud takes its place."""
    assert load(**{name: url})


def test_a_placeholder_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libpq takes it where the address has none."""
    monkeypatch.setenv("PGPASSWORD", "change-me")
    assert load()
    with pytest.raises(ConfigurationError, match=r"^PGPASSWORD "):
        load(database_url="postgresql://me@server/name")


def test_an_empty_token_is_none() -> None:
    """As Compose passes on a variable that nobody has set; it opens the page to nobody."""
    assert load(operations_token="").operations_token is None
    with pytest.raises(ConfigurationError, match=r"^OPERATIONS_TOKEN: .*16 characters"):
        load(operations_token="short")


def test_the_topology_is_looked_at_before_an_alert_misses_it() -> None:
    """PartSilent would fire for good."""
    rules = (PROJECT / "deploy/prometheus/rules.yml").read_text("utf-8")
    (silent,) = re.findall(r"part_heartbeat_timestamp_seconds\{[^}]*\}\) > (\d+)", rules)
    assert 1.2 * load(topology_check="2m").topology_check < int(silent) - 30  # a look takes long
    with pytest.raises(ConfigurationError, match=r"^TOPOLOGY_CHECK.* 120 .*PartSilent"):
        load(topology_check="3m")


@pytest.mark.parametrize("password", PASSWORDS)
def test_no_password_is_shown(password: str) -> None:
    """Neither by the settings nor by their refusal, whatever else is wrong."""
    encoded = quote(password, safe="")
    schemes = dict.fromkeys(("database_url", "migration_database_url"), "postgresql")
    schemes |= {"broker_url": "amqp", "rabbitmq_management_url": "https"}
    settings = load(
        **{name: f"{scheme}://me:{encoded}@server/name" for name, scheme in schemes.items()}
    )
    assert settings.passwords == [password] * 4
    assert leaks(password, f"{settings!r}{settings}") == []
    variable, scheme = list(schemes.items())[len(password) % 4]
    for end in ("@server/name", "@server:port/name", "@[::x]/name", "@/name", "#"):
        with pytest.raises(ConfigurationError) as refused:
            load(**{variable: f"{scheme}://me:{password}{end}"}, concurrency="many")
        assert variable.upper() in str(refused.value) or end == "@server/name"
        assert leaks(password, f"{refused.value!r}{refused.value.__cause__}") == []


def test_the_example_names_the_defaults() -> None:
    """Whoever takes away the # of a line changes nothing yet."""
    text, defaults = (PROJECT / ".env.example").read_text("utf-8"), load()
    named = {
        name.lower(): value
        for name, value in re.findall(r"^#([A-Z_]+)=([^ \n]+)", text, re.MULTILINE)
        if name != "POOL_SIZE" and not name.endswith("_URL")  # these follow from others
    }
    assert len(named) > 30
    read = {name: getattr(load(**{name: value}), name) for name, value in named.items()}
    assert read == {name: getattr(defaults, name) for name in named}
