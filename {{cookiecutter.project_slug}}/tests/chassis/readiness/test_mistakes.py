"""Each mistake of the lists turns its check red, and no fine change turns any."""

from pathlib import Path

import pytest

from readiness.check import Result
from readiness.checklist import CHECKS, go_through
from readiness.rehearsal import Subject
from tests.chassis.readiness.change import Change, child_of, made
from tests.chassis.readiness.defects import DEFECTS
from tests.chassis.readiness.fine import FINE
from tests.chassis.readiness.mistakes import MISTAKES
from tests.chassis.readiness.mistakes_at_work import AT_WORK
from tests.chassis.readiness.mistakes_of_schema import OF_SCHEMA

ALL_MISTAKES = (*MISTAKES, *AT_WORK, *OF_SCHEMA)
# What `make test` tries, beside the defects of test_checks.py; `make faults` tries all of them.
SHORT = {
    "order without index",
    "sleeps",
    "a branch",
    "a use case in another module, inside a transaction",
    "a column that a query asks for",
}


def test_every_check_is_proven_able_to_fail() -> None:
    """A check that cannot fail is no check."""
    shown = {each.check for each in DEFECTS} | {each.check for each in ALL_MISTAKES}
    assert shown == {check.id for check in CHECKS}


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(
            each,
            id=f"{each.check}-{each.name}",
            marks=[] if each.name in SHORT else [pytest.mark.long],
        )
        for each in ALL_MISTAKES
    ],
)
async def test_a_mistake_in_a_slice_turns_exactly_one_check_red(
    mistake: Change, subject: Subject, tmp_path: Path
) -> None:
    """With a finding that names it."""
    results = await _tried(mistake, subject, tmp_path)

    red = {each.id: each.findings for each in results if not each.passed}
    assert list(red) == [mistake.check], red
    assert any(mistake.says in finding for finding in red[mistake.check]), red


@pytest.mark.parametrize(
    "fine",
    [
        pytest.param(each, id=each.name, marks=[] if each.name in SHORT else [pytest.mark.long])
        for each in FINE
    ],
)
async def test_a_fine_change_turns_nothing_red(
    fine: Change, subject: Subject, tmp_path: Path
) -> None:
    """Whoever is alarmed for nothing looks no more."""
    results = await _tried(fine, subject, tmp_path)

    assert not {each.id: each.findings for each in results if not each.passed}


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ('{"nowhere": [{"id": 1}]}', '"nowhere" does not exist'),
        ('{"sales": [{"id": 1}]}', "invalid input syntax for type uuid"),
        ('{"sales": [{"nothing": 1}]}', '"nothing"'),
    ],
)
async def test_a_row_that_cannot_be_given_is_named(
    subject: Subject, tmp_path: Path, given: str, cause: str
) -> None:
    """With the query that needs it; nothing else is said of a database without it."""
    change = Change("", "given", "", (child_of("UUID(int=7)", given=given),))
    with made(change, subject, tmp_path) as changed:
        (result,) = await go_through(changed, CHECKS[:1])

    (finding,) = result.findings
    assert "sales.asked has given=" in finding
    assert cause in finding


async def _tried(change: Change, subject: Subject, folder: Path) -> list[Result]:
    """K5 looks at migrations only: it is left out where these are as they were."""
    left_out = "" if change.up else "K5"
    with made(change, subject, folder) as changed:
        return await go_through(changed, [each for each in CHECKS if each.id != left_out])
