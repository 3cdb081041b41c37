"""What may stay for a while, and what becomes of it."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import date
from io import StringIO
from json import loads
from pathlib import Path

import pytest
from rich.console import Console

from acme_orders.chassis.errors import ConfigurationError

from readiness import report
from readiness.check import Check
from readiness.checklist import go_through
from readiness.rehearsal import Rehearsal, Subject
from readiness.waivers import Waiver, apply, waivers_in

CHECKS = ("K1", "Q1")
WRITTEN = """\
[tool.other]
x = 1

[[tool.readiness.waivers]]
check = "K1"
subject = "parcels.page"
reason = "ten people read it"
until = 2027-03-31

[[tool.readiness.waivers]]
check = "Q1"
subject = "parcels.page"
reason = "the same"
until = 2027-03-31
"""
TODAY = date(2027, 3, 31)
WAIVER = Waiver("K1", "parcels.page", "why", TODAY, "pyproject.toml:4", "delete lines 4 to 8")


def test_each_is_read_with_its_place(tmp_path: Path) -> None:
    """A project without any, or without a file, has none."""
    first, second = waivers_in(_file(tmp_path, WRITTEN), CHECKS)

    assert first == Waiver("K1", "parcels.page", "ten people read it", TODAY)
    assert (first.place, second.place) == ("pyproject.toml:4", "pyproject.toml:10")
    assert first.delete == "delete lines 4 to 8 of pyproject.toml"
    assert waivers_in(_file(tmp_path, "[tool.other]\n"), CHECKS) == ()
    assert waivers_in(tmp_path / "none.toml", CHECKS) == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('check = "K1"', 'check = "K9"', "check = 'K9' is none: write one of K1, Q1"),
        ('check = "K1"', "check = 1", "check = 1 is no text"),
        ('check = "K1"\n', "", "check is missing"),
        ('subject = "parcels.page"\n', "", "subject is missing"),
        ('"ten people read it"', '" "', "reason = ' ' is no text"),
        ("2027-03-31", '"2027-03-31"', "until = '2027-03-31' is no day: write until = 2027-03-31"),
        ("2027-03-31", "2027-03-31T00:00:00", "is no day"),
        ("2027-03-31", "2027-02-31", "pyproject.toml is not TOML"),
        ("until", "untill", "untill = datetime.date(2027, 3, 31) means nothing here"),
        ("readiness.waivers", "readiness.waiver", "[tool.readiness] is not known"),
        ('check = "Q1"', 'check = "K1"', "pyproject.toml:4 waives 'parcels.page' already"),
        ("[[tool.readiness.waivers]]", "[tool.readiness.waivers]", "pyproject.toml"),
    ],
)
def test_one_that_cannot_be_understood_is_refused(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    """With the value, and what to write."""
    with pytest.raises(ConfigurationError) as refused:
        waivers_in(_file(tmp_path, WRITTEN.replace(old, new, 1)), CHECKS)

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("finding", "covered"),
    [
        ("parcels.page: it has no limit", True),
        ("parcels/repository.py:9: parcels.page, and others", True),
        ("it is about parcels.page.", True),
        ("parcels.page_of: it has no limit", False),
        ("parcels.pages: it has no limit", False),
        ("other.parcels.page: it has no limit", False),
        ("parcels.page.all: it has no limit", False),
    ],
)
def test_it_is_about_what_a_finding_names(finding: str, *, covered: bool) -> None:
    """And not about what is called like it."""
    assert WAIVER.covers(finding) is covered


def test_a_finding_is_waived_until_the_last_day() -> None:
    """Of the check that is named; others count."""
    finding, other = "parcels.page: slow", "parcels.all: slow"

    counting, waived, _ = apply("K1", [finding, other], [WAIVER], today=TODAY)

    assert counting == [other]
    assert [(each.finding, each.waiver) for each in waived] == [(finding, WAIVER)]
    assert apply("Q1", [finding], [WAIVER], today=TODAY) == ([finding], [], [])


def test_one_that_has_ended_or_is_left_over_is_a_finding() -> None:
    """With the lines to delete."""
    late = apply("K1", ["parcels.page"], [WAIVER], today=date(2027, 4, 1))
    counting, waived, (ended,) = late
    none, nothing, (left,) = apply("K1", [], [WAIVER], today=TODAY)

    assert (counting, waived, none, nothing) == (["parcels.page"], [], [], [])
    assert "pyproject.toml:4: the waiver of 'parcels.page' ended on 2027-03-31" in ended
    assert "nothing is found about 'parcels.page': delete lines 4 to 8" in left


class Complains(Check):
    """Something."""

    id = "K1"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Look."""
        self.inspected = len(list(rehearsal.queries()))
        yield "parcels.page: slow"


async def test_the_checklist_passes_with_it_and_shows_it(subject: Subject) -> None:
    """To people and to programs; one that is left over fails.

    What has no evidence, or ends with an error, is not waived.
    """

    class Ends(Complains):
        async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
            async for each in super().inspect(rehearsal):
                yield each
            self.inspected = 0
            raise ZeroDivisionError

    waived = replace(subject, waivers=[replace(WAIVER, until=date.max)])

    good, bad = await go_through(waived, [Complains, Ends])
    over = replace(WAIVER, subject="parcels.gone")
    (stale,) = await go_through(replace(waived, waivers=[*waived.waivers, over]), [Complains])

    assert good.passed
    assert not stale.passed
    assert "'parcels.gone'" in stale.findings[0]
    assert bad.findings[-1] == "nothing to inspect"
    assert not bad.waived
    (told, _) = loads(report.as_json([good, bad]))["checks"]
    assert (told["passed"], told["findings"]) == (True, [])
    assert told["waived"][0]["reason"] == "why"
    console = Console(width=160, file=StringIO(), record=True)
    report.show(console, [good])
    line = "waived until 9999-12-31, why: parcels.page: slow (pyproject.toml:4)"
    assert line in console.export_text()


def _file(folder: Path, text: str) -> Path:
    file = folder / "pyproject.toml"
    file.write_text(text, encoding="utf-8")
    return file
