"""This project is ready for production: the checklist as a test; `make readiness` shows it."""

import pytest

from acme_orders.service import SERVICE

from readiness.checklist import CHECKS, go_through
from readiness.rehearsal import Subject
from readiness.strays import strays
from tests.conftest import PROJECT, server


def test_everything_hangs_from_a_slice() -> None:
    """What does not would be neither run nor inspected."""
    assert strays(SERVICE) == []


async def test_every_check_passes_and_has_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that has looked at nothing is as red as one that has found something."""
    monkeypatch.chdir(PROJECT)
    settings = SERVICE.load_settings(
        _env_file=None,
        environment="test",
        database_url=server("DATABASE_URL"),
        broker_url="memory://",
    )
    results = await go_through(Subject(SERVICE, settings))
    assert [(each.id, each.findings) for each in results] == [(each.id, ()) for each in CHECKS]
    assert all(each.inspected for each in results)
