"""Findings that somebody has decided to live with for a while, as `pyproject.toml` lists them."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError

HEAD = "[[tool.readiness.waivers]]"
_KINDS = {
    "check": 'check = "K1"',
    "subject": 'subject = "parcels.page", a name that the finding has',
    "reason": 'reason = "…", why the finding may stay',
    "until": "until = 2027-03-31, the last day on which it may",
}
_FORM = 'check = "K1", subject = "parcels.page", reason = "…", until = 2027-03-31'
_HEAD = re.compile(r"\[\[tool\.readiness\.waivers\]\]\s*(#.*)?$")
_KEY = re.compile(r"\s*[\w\"]+\s*=")


@dataclass(frozen=True)
class Waiver:
    """What is waived.

    Args:
        check: id of the check that finds it.
        subject: what the finding is about, as it is named there: a query, a table, a handler.
        reason: why it may stay.
        until: the last day on which it may.
        place: where it is written.
        delete: how to take it out.
    """

    check: str
    subject: str
    reason: str
    until: date
    place: str = field(default="", compare=False)
    delete: str = field(default="", compare=False)

    def covers(self, finding: str) -> bool:
        """Whether the finding names the subject, as a name of its own and not as part of one."""
        return bool(re.search(rf"(?<![\w.]){re.escape(self.subject)}(?!\w|\.\w)", finding))


@dataclass(frozen=True)
class Waived:
    """A finding that does not count, and why."""

    finding: str
    waiver: Waiver


def waivers_in(file: Path, checks: Collection[str]) -> tuple[Waiver, ...]:
    """All that a `pyproject.toml` lists; none if there is no such file.

    Args:
        file: that is read.
        checks: the ids that there are.

    Raises:
        ConfigurationError: one of them cannot be understood.
    """
    try:
        text = file.read_text(encoding="utf-8")
        about = tomllib.loads(text).get("tool", {}).get("readiness", {})
    except FileNotFoundError:
        return ()
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file.name} is not TOML: {error}") from None
    listed = about.get("waivers", []) if isinstance(about, dict) else None
    if not isinstance(listed, list) or {*about} - {"waivers"}:
        raise ConfigurationError(
            f"{file.name}: {about!r} under [tool.readiness] is not known: waivers stand there, "
            f"each under {HEAD}"
        )
    found, problems = dict[tuple[str, str], Waiver](), list[str]()
    for entry, (place, delete) in zip(listed, _places(text, file.name, len(listed)), strict=True):
        if wrong := [*_wrong(entry, checks)]:
            problems += [f"{place}: {each}" for each in wrong]
            continue
        waiver = Waiver(**entry, place=place, delete=delete)
        if other := found.get((waiver.check, waiver.subject)):
            problems.append(f"{place}: {other.place} waives {waiver.subject!r} already: {delete}")
        found[waiver.check, waiver.subject] = waiver
    if problems:
        raise ConfigurationError("\n".join(problems))
    return tuple(found.values())


def apply(
    check: str, findings: Sequence[str], waivers: Sequence[Waiver], *, today: date | None = None
) -> tuple[list[str], list[Waived], list[str]]:
    """The findings of a check that count, those that are waived, and what is wrong with waivers.

    That is one that covers nothing any more, or has ended.
    """
    now = today or datetime.now(UTC).date()
    mine = [each for each in waivers if each.check == check]
    counting, waived, wrong = list[str](), list[Waived](), list[str]()
    for finding in findings:
        valid = next((each for each in mine if each.covers(finding) and each.until >= now), None)
        if valid is None:
            counting.append(finding)
        else:
            waived.append(Waived(finding, valid))
    for each in mine:
        if not any(map(each.covers, findings)):
            wrong.append(
                f"{each.place}: a waiver is left over, nothing is found about {each.subject!r}: "
                f"{each.delete}"
            )
        elif each.until < now:
            wrong.append(
                f"{each.place}: the waiver of {each.subject!r} ended on {each.until}: mend what is "
                f"found and {each.delete}, or decide anew until when it may stay"
            )
    return counting, waived, wrong


def _wrong(entry: Any, checks: Collection[str]) -> Iterator[str]:
    """What is not as it has to be in one of them."""
    if not isinstance(entry, Mapping):
        yield f"{entry!r} is no waiver: write {HEAD}, and below it, a line for each, {_FORM}"
        return
    for name, value in entry.items():
        if name not in _KINDS:
            yield f"{name} = {value!r} means nothing here; a waiver has {', '.join(_KINDS)}"
    for name, form in _KINDS.items():
        if name not in entry:
            yield f"{name} is missing: write {form}"
        elif name == "until":
            if type(entry[name]) is not date:  # a time of day is a date as well
                yield f"until = {entry[name]!r} is no day: write {form}, without quotes"
        elif not isinstance(entry[name], str) or not entry[name].strip():
            yield f"{name} = {entry[name]!r} is no text: write {form}"
    if isinstance(check := entry.get("check"), str) and check.strip() and check not in checks:
        yield f"check = {check!r} is none: write one of {', '.join(sorted(checks))}"


def _places(text: str, file: str, number: int) -> list[tuple[str, str]]:
    """Where each of them stands, and how to delete it."""
    found, lines = list[tuple[str, str]](), text.splitlines()
    for first, line in enumerate(lines, start=1):
        if _HEAD.match(line):
            last = first
            for place, below in enumerate(lines[first:], start=first + 1):
                if below.startswith("["):
                    break
                last = place if _KEY.match(below) else last
            found.append((f"{file}:{first}", f"delete lines {first} to {last} of {file}"))
    # Written in one line, or with spaces in the head, they have no lines of their own.
    return found if len(found) == number else [(file, f"delete it from {file}")] * number
