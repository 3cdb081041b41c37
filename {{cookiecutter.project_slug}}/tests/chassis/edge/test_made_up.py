# feature: http_api
"""Routes of any form, asked what nobody thought of; a real process."""

from pathlib import Path

import pytest

from tests.chassis.edge.process import HEADERS, running
from tests.made_up import wrong

# They fail, wait or answer at length because somebody asks for it.
ODD = "^/(forms/(bug|slow|long)|cost)$"
TENANT = {name: value for name, value in HEADERS.items() if name != "Content-Type"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_answer_is_one_that_is_documented(database_url: str, tmp_path: Path) -> None:
    """Whatever a route takes: models, lists, anything, queries, cookies."""
    environment = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": "memory://",
    }
    with running(environment, tmp_path / "log") as service:
        found = wrong(service.port, TENANT, tmp_path, examples=50, without=ODD)
    assert not found, found
