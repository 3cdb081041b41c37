"""The head of a migration is understood or refused; prose in it is neither."""

from pathlib import Path

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import migrations
from acme_orders.chassis.migrations.header import Header, Phase, header_of

FILE = Path("migrations/0007_new.up.sql")
SAID = {
    "": Header(),
    "-- reversible: yes": Header(reversible=True),
    "-- reversible: no (the rows are lost)": Header(
        reversible=False, irreversible="the rows are lost"
    ),
    "-- phase: expand": Header(phase=Phase.EXPAND),
    "-- phase: plain  -- to be seen": Header(),
    "-- reversible: yes\n\n-- phase: contract\n-- requires: backfill fill_total": Header(
        reversible=True, phase=Phase.CONTRACT, backfills=("fill_total",)
    ),
    "-- requires: backfill a, release 1.4, backfill b": Header(backfills=("a", "b"), release="1.4"),
    "-- requires: backfill a\n-- requires: backfill b": Header(backfills=("a", "b")),
    "-- requires: release 1.4.2": Header(release="1.4.2"),
    "-- small: countries (one row for each)\n-- small: public.plans (ours)": Header(
        small={"countries": "one row for each", "public.plans": "ours"}
    ),
}
PROSE = [
    "-- Note: the table is new.",
    "-- note: the table is new.",
    "-- small tables first, large ones later",
    "-- Small: nobody has more than ten.",
    "-- Requires: PostgreSQL 15.",
    "-- phase two of three",
    "-- it requires: a lot",
    "-- ----- phase",
    "-- why: reversible: yes would be a lie",
    "SELECT 1;\n-- requires: patience",
    "SELECT '\n-- phases: contract';",
]
REFUSED = [
    ("-- reversible: no", "reversible"),
    ("-- reversible: no ()", "reversible"),
    ("-- reversible: maybe", "reversible"),
    ("-- reversible yes", "reversible"),
    ("-- Reversible: yes", "reversible"),
    ("-- reversable: yes", "reversible"),
    ("--reversible: yes", "reversible"),
    ("-- phase: contrakt", "phase"),
    ("-- phase:", "phase"),
    ("-- phase:contract", "phase"),
    ("-- phase = contract", "phase"),
    ("-- Phase: contract", "phase"),
    ("-- phases: contract", "phase"),
    ("-- pahse: contract", "phase"),
    ("-- requires: fill_total", "requires"),
    ("-- requires: backfill", "requires"),
    ("-- requires: backfill a,", "requires"),
    ("-- requires: backfill a backfill b", "requires"),
    ("-- requires: release next", "requires"),
    ("-- requires: release 1", "requires"),
    ("-- require: backfill a", "requires"),
    ("-- small: countries", "small"),
    ("-- small: countries and plans (few)", "small"),
]
TWICE = [
    "-- reversible: yes\n-- reversible: no (the rows are lost)",
    "-- phase: expand\n-- phase: expand",
    "-- requires: backfill a\n-- requires: backfill a",
    "-- requires: release 1.4\n-- requires: release 1.5",
    "-- small: plans (few)\n-- small: plans (ours)",
]


@pytest.mark.parametrize("head", SAID)
def test_a_head_is_understood(head: str) -> None:
    """Whether a statement follows or not."""
    for body in ("", "\nSELECT 1;\n"):
        assert header_of(FILE, head + body) == SAID[head]


@pytest.mark.parametrize("prose", PROSE)
def test_prose_is_no_header(prose: str) -> None:
    """Files that are applied have it, and cannot change."""
    assert header_of(FILE, f"-- reversible: yes\n{prose}\n") == Header(reversible=True)


@pytest.mark.parametrize(("line", "key"), REFUSED)
def test_what_somebody_meant_as_a_header_is_refused(line: str, key: str) -> None:
    """Passed over, it would guard nothing. The line and the right form are named."""
    with pytest.raises(ConfigurationError) as refused:
        header_of(FILE, f"-- prose\n\n{line}\nSELECT 1;\n")
    assert str(refused.value).startswith(f"{FILE}:3: `{line}`: write `-- {key}: ")


@pytest.mark.parametrize("head", TWICE)
def test_what_is_said_twice_is_refused(head: str) -> None:
    """The second one is named."""
    with pytest.raises(ConfigurationError, match=r"0007_new\.up\.sql:2: .*: this is said twice"):
        header_of(FILE, head)


@pytest.mark.parametrize("line", ["phase: contract", "requires: backfill a", "small: plans (few)"])
def test_a_guard_behind_the_first_statement_is_refused(line: str) -> None:
    """Nobody would look for it there."""
    with pytest.raises(ConfigurationError, match=r"0007_new\.up\.sql:2: .*: move it to the head"):
        header_of(FILE, f"SELECT 1;\n-- {line}\n")


def test_the_migrations_of_this_project_have_a_head() -> None:
    """Also those that were written before there was more than one key."""
    assert all(each.header.reversible is not None for each in migrations())
