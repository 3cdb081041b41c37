"""A variable whose name is almost that of a setting is told of; otherwise nobody would notice."""

from pathlib import Path

import pytest

from acme_orders.chassis.cli.session import command_settings
from acme_orders.chassis.lookalikes import lookalikes
from acme_orders.chassis.settings import ChassisSettings

from tests.chassis.service import SERVICE

FINE = ("PATH", "PGHOST", "HTTP_PROXY", "NO_PROXY", "KUBERNETES_PORT", "pool_size")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STATEMENT_TIMOUT", "STATEMENT_TIMEOUT"),
        ("HANDLER_TIMEOUTS", "HANDLER_TIMEOUT"),
        ("POOLSIZE", "POOL_SIZE"),
        ("BROKER_URI", "BROKER_URL"),
        ("retry_ladders", "RETRY_LADDER"),
    ],
)
def test_the_setting_that_was_meant_is_named(
    name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment as in `.env`; other variables are nobody's business."""
    monkeypatch.chdir(tmp_path)
    assert lookalikes(ChassisSettings, [name, *FINE]) == {name.upper(): meant}

    (tmp_path / ".env").write_text(f"{name}=1\nPOOL_SIZE=9\n", encoding="utf-8")
    assert lookalikes(ChassisSettings, FINE) == {name.upper(): meant}


def test_every_command_warns_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its value, which may be a password."""
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("ENVIRONMENT", "test"),
        ("DATABASE_URL", "postgresql://me@server/name"),
        ("BROKER_URL", "memory://"),
        ("DATABASE_URLS", "hidden"),
    ):
        monkeypatch.setenv(name, value)

    command_settings(SERVICE)

    said = capsys.readouterr().err
    assert "DATABASE_URLS" in said
    assert "is it DATABASE_URL?" in said
    assert "hidden" not in said
