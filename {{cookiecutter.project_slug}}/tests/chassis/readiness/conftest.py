"""What is inspected in these tests."""

import os

import pytest

from readiness.rehearsal import Subject
from tests.chassis.conftest import home
from tests.chassis.service import SERVICE


@pytest.fixture
def subject() -> Subject:
    """The service, with a server on which databases can be created."""
    url = os.environ["DATABASE_URL"]
    return Subject(
        SERVICE,
        SERVICE.load_settings(
            environment="test", database_url=url, broker_url="memory://", _env_file=None
        ),
        migrations=home() / "migrations",
        contracts=home() / "contracts",
    )
