# feature: http_api
"""Routes of forms that the example does not have, asked what nobody thought of."""

from pathlib import Path

import pytest

from tests.chassis.edge.process import HEADERS, running
from tests.made_up import ALL, wrong

# They fail, or take as long as they are told, for other tests.
WITHOUT = ("/forms/bug", "/forms/slow", "/forms/long", "/cost")
DEAR = ("/forms/payload",)  # with a field of each form, minutes of requests


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("phases", "examples", "without"),
    [
        ("examples,fuzzing", 3, WITHOUT + DEAR),
        pytest.param(ALL, 30, WITHOUT, marks=pytest.mark.long),
    ],
    ids=["short", "long"],
)
def test_every_answer_is_one_that_is_documented(
    database_url: str, tmp_path: Path, phases: str, examples: int, without: tuple[str, ...]
) -> None:
    """Bodies, queries and cookies of every form; no error of the service, whatever it was told."""
    environment = {"ENVIRONMENT": "test", "DATABASE_URL": database_url, "BROKER_URL": "memory://"}
    headers = {name: text for name, text in HEADERS.items() if name != "Content-Type"}
    with running(environment, tmp_path / "log") as service:
        found = wrong(
            service.port, headers, tmp_path, phases=phases, examples=examples, without=without
        )
        assert not found, found
        assert service.process.poll() is None
