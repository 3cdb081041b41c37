"""What a person sees who gives it bad settings, a missing server or an occupied port."""

import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

LAST = max((PROJECT / "migrations").glob("*.up.sql")).name.removesuffix(".up.sql")
FREE_PORTS = {"OPERATIONS_PORT": "0", "HTTP_PORT": "0"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with this environment."""
    return subprocess.run(
        [sys.executable, "-m", "acme_orders", *arguments],
        cwd=PROJECT,
        env={**os.environ, "ENVIRONMENT": "test", "LISTEN_HOST": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://here", "DATABASE_URL"),
        ("BROKER_URL", "kafka://here", "amqp://"),
        ("CONCURRENCY", "many", "CONCURRENCY='many'"),
        ("POOL_SIZE", "3", "set POOL_SIZE to 10 or more"),
        ("RETRY_LADDER", "5s,soon", "RETRY_LADDER"),
        ("OPERATIONS_PORT", "123456", "OPERATIONS_PORT='123456'"),
        ("STATEMENT_TIMEOUT", "2h", "HANDLER_TIMEOUT"),
        ("LOG_LEVEL", "LOUD", "'INFO'"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(
    setting: str, value: str, expected: str
) -> None:
    """One line, exit status 78."""
    ended = run("run", **{setting: value})
    assert ended.returncode == 78, ended.stderr
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_placeholder_password_is_refused_in_production() -> None:
    """A secret that everybody knows is none."""
    ended = run("run", ENVIRONMENT="production", DATABASE_URL="postgresql://a:change-me@b/c")
    assert ended.returncode == 78
    assert "change-me" in ended.stderr


def test_a_missing_database_is_named(database_url: str) -> None:
    """With the setting, and without the password."""
    url = "postgresql://me:secret@127.0.0.1:1/none"
    ended = run("run", DATABASE_URL=url, BROKER_URL="memory://", **FREE_PORTS)
    assert ended.returncode == 1
    assert "127.0.0.1" in ended.stderr
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_broker_is_named(database_url: str) -> None:
    """With the setting and the address."""
    url = "amqp://me:secret@127.0.0.1:1/"
    ended = run("run", DATABASE_URL=database_url, BROKER_URL=url, **FREE_PORTS)
    assert ended.returncode == 1
    assert "127.0.0.1:1 (BROKER_URL)" in ended.stderr
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_occupied_port_is_named(database_url: str) -> None:
    """With its setting, before anything is consumed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"OPERATIONS_PORT": str(port), "HTTP_PORT": "0"}
        ended = run("run", DATABASE_URL=database_url, BROKER_URL="memory://", **ports)
    assert ended.returncode == 78
    assert f"OPERATIONS_PORT={port} cannot be used" in ended.stderr


def test_one_part_alone_leaves_the_ports_of_the_others_free(database_url: str) -> None:
    """A relay and an API run side by side; this one goes on to find no broker."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"OPERATIONS_PORT": "0", "HTTP_PORT": str(taken.getsockname()[1])}
        url = "amqp://me@127.0.0.1:1/"
        ended = run("run", "--only", "relay", DATABASE_URL=database_url, BROKER_URL=url, **ports)
    assert ended.returncode == 1
    assert "BROKER_URL" in ended.stderr


def test_a_schema_that_lacks_a_migration_is_refused(database_url: str) -> None:
    """Better not to start than to fail at the first message."""
    assert run("migrate", "down", DATABASE_URL=database_url).returncode == 0
    ended = run("doctor", DATABASE_URL=database_url, BROKER_URL="memory://")
    assert ended.returncode == 78
    assert LAST in ended.stderr


def test_help_names_every_command() -> None:
    """Each with a sentence."""
    ended = run("--help")
    assert ended.returncode == 0
    for command in ("run", "migrate", "readiness", "doctor"):
        assert command in ended.stdout
