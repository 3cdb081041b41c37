"""The account of an attack sees what is wrong; a clean one would prove nothing otherwise."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chassis.attack.causes import Cause
from tests.chassis.attack.login import BROKER_PASSWORD, DATABASE_PASSWORD, with_password
from tests.chassis.attack.sales import PERSON, Sales
from tests.chassis.attack.verdict import Found, late, lateness, misplaced
from tests.chassis.attack.watch import secrets_in

ENDS = {"effect": {"g"}, "dead letter": {"b"}, "either": {"e"}}


def sales() -> Sales:
    """Two that were accepted, one whose answer was lost, and one between broken ones."""
    found = Sales({"1": 0.0, "2": 0.0}, tried={"http-3-0", "http-3-1"})
    for each in ("1", "2", "3", "g"):
        found.announced[each] = [(1.0, f"event {each}")]
    return found


def found() -> Found:
    """Everything as it should be."""
    return Found(Counter(["1", "2", "3", "g"]), [("http-1-0", "1"), ("http-3-1", "3")])


def test_nothing_is_wrong() -> None:
    """Of two tries without an answer one took effect; an event may come twice with one id."""
    known = sales()
    known.announced["1"].append((2.0, "event 1"))
    assert misplaced(known, ENDS, found()) == []


WRONG: dict[str, tuple[Callable[[Sales, Counter[str]], object], str]] = {
    "lost": (lambda _, effects: effects.pop("1"), "1 took effect 0 times"),
    "double": (lambda _, effects: effects.update(["2"]), "2 took effect 2 times"),
    "a lost one between broken ones": (lambda _, effects: effects.pop("g"), "g took effect 0"),
    "without an answer, double": (lambda _, effects: effects.update(["3"]), "3 took effect 2"),
    "not announced": (lambda known, _: known.announced.pop("2"), "2 was announced as 0 events"),
    "announced as two events": (
        lambda known, _: known.announced["2"].append((2.0, "other")),
        "2 was announced as 2 events",
    ),
    "broken": (lambda _, effects: effects.update("b"), "b took effect and is broken"),
    "of nobody": (lambda _, effects: effects.update("x"), "nobody has sent sale x"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_seen(name: str) -> None:
    """One line about the one sale."""
    spoil, line = WRONG[name]
    known, there = sales(), found()
    spoil(known, there.effects)
    (note,) = misplaced(known, ENDS, there)
    assert line in note


def test_an_article_in_two_orders_is_seen() -> None:
    """A request that was carried out twice."""
    twice = replace(found(), articles=[*found().articles, ("http-1-0", "2")])
    assert misplaced(sales(), ENDS, twice) == ["http-1-0 is in several sales"]


@pytest.mark.parametrize(
    ("accepted", "heard", "causes", "waited"),
    [
        (0, 4, [], 4),
        (0, 4, [(5, 9)], 4),
        (10, 14, [(5, 9)], 4),
        (0, 20, [(1, 17)], 3),
        (0, 20, [(1, 17), (18, 19)], 1),
        (0, 20, [(5, 5)], 15),
        (0, 20, [(2, 15), (3, 4)], 5),
        (3, 8, [(2, 5)], 3),
        (3, 8, [(7, 12)], 4),
        (3, 3, [(1, 9)], 0),
    ],
)
def test_only_a_stretch_without_a_cause_counts(
    accepted: float, heard: float, causes: list[tuple[float, float]], waited: float
) -> None:
    """The longest of them, whichever cause was before."""
    known = Sales({"1": accepted})
    known.announced["1"] = [(heard, "event"), (heard + 50, "event")]
    over = [Cause("a cause", began, ended) for began, ended in causes]
    assert lateness(known, over, limit=0.5) == {"1": waited}
    assert bool(late(known, over, limit=0.5)) == (waited > 0.5)


def test_a_break_that_is_too_short_to_see_who_is_late_counts_as_none() -> None:
    """Or causes one after the other would hide somebody who waits for ever."""
    known = Sales({"1": 0})
    known.announced["1"] = [(40, "event")]
    over = [Cause("a cause", began, began + 1) for began in range(1, 20, 3)]
    assert lateness(known, over, limit=5) == {"1": 20}
    assert late(known, over, limit=5)


def test_secrets_are_found_in_any_form() -> None:
    """As they are, as they stand in an address, and cut at their `@`."""
    for password in (DATABASE_PASSWORD, BROKER_PASSWORD, PERSON):
        assert secrets_in("a log", f"… {password} …".encode())
        assert secrets_in("a log", f"… {password.partition('@')[2] or password} …".encode())
    assert secrets_in("a log", with_password("postgresql://a@b/c").encode())
    assert not secrets_in("a log", b"postgresql://a:***@b/c")
