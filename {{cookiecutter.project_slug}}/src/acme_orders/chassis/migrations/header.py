"""What the head of a migration says of it: the comment lines `-- key: value` before its first SQL.

Prose is welcome there. A line is no prose if it begins with one of the keys, or looks as if
somebody had meant one: passed over, it would leave a migration without its guard.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ConfigurationError

_LINE = re.compile(
    r"--+\s*(?P<key>[a-z][a-z_-]*(?: to)?)\s*(?P<sign>[:=]|\s)\s*(?P<value>.*)", re.IGNORECASE
)
_EXACT = re.compile(r"-- [a-z ]+: \S.*")
_REMARK = re.compile(r"\s+--\s.*")  # behind a value
_WITH_REASON = re.compile(r"(?P<what>[a-z_][a-z0-9_.]*) \((?P<reason>[^)\s][^)]*)\)")
_BACKFILL = re.compile(r"backfill ([a-z][a-z0-9_]*)")
_RELEASE = re.compile(r"release ([0-9]+(?:\.[0-9]+)+)")
_NEAR = 0.8


class Phase(StrEnum):
    """When a migration is run, seen from the release that needs it."""

    EXPAND = "expand"  # before it: the release before still runs, and must not notice
    CONTRACT = "contract"  # after it: takes away what no release uses any more
    PLAIN = "plain"


@dataclass(frozen=True)
class Header:
    """What the head of a file says; a file without a head says nothing.

    Attributes:
        reversible: whether the down file takes back what the up file did; None: not stated.
        irreversible: why not.
        phase: of a change in several steps.
        backfills: names of those that must have been completed.
        release: that stopped using what is taken away, such as `1.4`; empty: none.
        small: the tables that are declared small, each with the reason.
    """

    reversible: bool | None = None
    irreversible: str = ""
    phase: Phase = Phase.PLAIN
    backfills: tuple[str, ...] = ()
    release: str = ""
    small: Mapping[str, str] = field(default_factory=dict)
    each_tenant: bool = False  # feature: schema


def header_of(file: Path, text: str) -> Header:
    """Read the head of an up file.

    Raises:
        ConfigurationError: a line has a key or a value that there is none, or says a thing twice;
            names file, line and what helps.
    """
    found: dict[str, Any] = {}
    body = False
    for number, line in enumerate(text.splitlines(), 1):
        body = body or bool(line.strip() and not line.startswith("--"))
        try:
            for name, value in _said(line, body=body):
                _add(found, name, value)
        except ValueError as error:
            raise ConfigurationError(f"{file}:{number}: `{line.strip()}`: {error}") from None
    return Header(**found)


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    already = found.get(name)
    match value:
        case tuple() if not set(value) & set(already or ()):
            found[name] = (*(already or ()), *value)
        case dict() if not value.keys() & (already or {}).keys():
            found[name] = (already or {}) | value
        case _ if already is None:
            found[name] = value
        case _:
            raise ValueError("this is said twice: leave one of the lines out")


def _said(line: str, *, body: bool) -> Iterator[tuple[str, Any]]:
    meant = _LINE.match(line)
    if meant is None:
        return
    key, value = meant["key"], _REMARK.sub("", meant["value"]).strip()
    known = key if key in KEYS else _near(key)
    if known is None:
        return
    read, form = KEYS[known]
    said = list(read(value))
    exact = key == known and _EXACT.match(line) is not None
    if exact and said and body and known in _ONLY_AT_THE_HEAD:
        raise ValueError("this stands behind the first statement: move it to the head")
    if exact and said:
        yield from said
    elif not body and (said or (meant["sign"] != " " and key.islower())):
        raise ValueError(f"write {form}; or, if it is a remark, begin it with another word")


def _near(key: str) -> str | None:
    spelled = re.sub("[_-]", " ", key.casefold())
    return next(iter(difflib.get_close_matches(spelled, KEYS, 1, _NEAR)), None)


def _reversible(value: str) -> Iterator[tuple[str, Any]]:
    if value == "yes":
        yield "reversible", True
    elif (found := _WITH_REASON.fullmatch(value)) and found["what"] == "no":
        yield from (("reversible", False), ("irreversible", found["reason"]))


def _phase(value: str) -> Iterator[tuple[str, Any]]:
    if value in set(Phase):
        yield "phase", Phase(value)


def _requires(value: str) -> Iterator[tuple[str, Any]]:
    items = [each.strip() for each in value.split(",")]
    backfills = [_BACKFILL.fullmatch(each) for each in items]
    releases = [_RELEASE.fullmatch(each) for each in items]
    if all(some or other for some, other in zip(backfills, releases, strict=True)):
        yield from (("backfills", (each[1],)) for each in backfills if each)
        yield from (("release", each[1]) for each in releases if each)


def _small(value: str) -> Iterator[tuple[str, Any]]:
    if found := _WITH_REASON.fullmatch(value):
        yield "small", {found["what"]: found["reason"]}


# feature: schema {
def _applies_to(value: str) -> Iterator[tuple[str, Any]]:
    if value == "each tenant":
        yield "each_tenant", True


# feature: schema }
# What a line of the head may begin with: how its value is read, and the form to write.
KEYS: dict[str, tuple[Callable[[str], Iterator[tuple[str, Any]]], str]] = {
    "reversible": (_reversible, "`-- reversible: yes`, or `-- reversible: no (the reason)`"),
    "phase": (_phase, "`-- phase: expand`, `contract` or `plain`"),
    "requires": (_requires, "`-- requires: backfill NAME` or `release 1.4`; commas part several"),
    "small": (_small, "`-- small: TABLE (why it will never be large)`"),
    "applies to": (_applies_to, "`-- applies to: each tenant`"),  # feature: schema
}
_ONLY_AT_THE_HEAD = {"phase", "requires", "small"}
