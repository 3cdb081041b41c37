"""This project is ready for production: the checklist as tests; `make readiness` shows it."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from acme_orders.service import SERVICE

from readiness.check import Check, Result
from readiness.checklist import CHECKS, go_through
from readiness.rehearsal import Subject
from readiness.strays import strays
from readiness.waivers import waivers_in
from tests.conftest import PROJECT, server


def test_everything_hangs_from_a_slice() -> None:
    """What does not would be neither run nor inspected."""
    assert strays(SERVICE) == []


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> dict[str, Result]:
    """Of the checks that are asked for, carried out together: one cause is told once."""
    here = [each for each in request.session.items if each.path == request.path]
    asked = {each.callspec.params["check"] for each in here if hasattr(each, "callspec")}
    settings = SERVICE.load_settings(
        _env_file=None,
        environment="test",
        database_url=server("DATABASE_URL"),
        broker_url="memory://",
    )
    waivers = waivers_in(PROJECT / "pyproject.toml", [each.id for each in CHECKS])
    checks = [each for each in CHECKS if each in asked]
    with contextlib.chdir(PROJECT):
        found = asyncio.run(go_through(Subject(SERVICE, settings, waivers=waivers), checks))
    return {each.id: each for each in found}


@pytest.mark.parametrize("check", CHECKS, ids=lambda each: each.id)
def test_a_check_passes_and_has_evidence(
    check: type[Check],
    results: dict[str, Result],
    record_property: Callable[[str, object], None],
) -> None:
    """One that has looked at nothing is as red as one that has found something.

    What is waived stands in the report of JUnit.
    """
    result = results[check.id]
    for each in result.waived:
        record_property(
            "waived", f"{each.finding} (until {each.waiver.until}: {each.waiver.reason})"
        )
    if not result.passed:
        told = [f"{check.title()}: no", *result.findings, f"→ {result.advice}"]
        pytest.fail("\n• ".join(filter(None, told)), pytrace=False)
    if result.why_not:
        pytest.skip(result.why_not)
    assert result.inspected
