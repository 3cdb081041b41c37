"""The page that is attached to a release: everything is in it, and nothing gets out of it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import pytest

from acme_orders.chassis.observability.redaction import Redactor

from readiness.about import About, about, shown
from readiness.check import Result
from readiness.evidence import Planned, drawn, named_in
from readiness.page import Page
from readiness.rehearsal import Subject
from readiness.waivers import Waived, Waiver

EVIL = "</pre><script src='https://evil.example/x.js'>alert(1)</script><img src=x onerror=alert(1)>"
PASSWORD = "s3cr3t-of-9"
WAIVER = Waiver("K1", "parcels.old", f"why {EVIL}", date(2027, 3, 31), "pyproject.toml:4")
ABOUT = About(
    "Parcels", "1.2.3", "abcdef0", "2027-01-01 12:00 UTC", "PostgreSQL 18.1", {"POOL_SIZE": "9"}
)
RED = Result(
    "K1",
    f"Filters {EVIL}",
    f"Add {EVIL}",
    3,
    (f"parcels.page: {EVIL} {PASSWORD}",),
    1.25,
    waived=(Waived(f"parcels.old: {EVIL}", WAIVER),),
    plans=(Planned("parcels.page", f"SELECT '{EVIL}'", (f"Seq Scan {EVIL}",), 120, 10),),
    left_out=(("parcels.rare", EVIL),),
    places={f"parcels.page: {EVIL} {PASSWORD}": "parcels/repository.py:12"},
)
GREEN = Result("K2", "Boundaries", "", 7, ())
UNSEEN = Result("K3", "Retries", "", 0, (), why_not="0001_x.up.sql cannot be applied")
VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Notes the tags, and that each is closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes = list[str](), set[str](), list[tuple[str, str]]()
        self.words = list[str]()
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It is the one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """What is shown."""
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def test_everything_is_in_it() -> None:
    """Verdict, where it was, each check, plans with what they read, and what was left out."""
    text = _read([RED, GREEN, UNSEEN])

    for each in (
        "Not ready: K1",
        *("Parcels 1.2.3", "abcdef0", "2027-01-01 12:00 UTC", "PostgreSQL 18.1", "POOL_SIZE"),
        *("K1", "1.2 s", "parcels/repository.py:12", "Boundaries", "FAIL", "not seen"),
        *("120 rows read, 10 returned: 12.0 for each", "Seq Scan", "parcels.rare"),
        *("0001_x.up.sql cannot be applied", "2027-03-31", "pyproject.toml:4", "1 waived"),
        EVIL,
    ):
        assert each in text, each
    assert "Ready" in _read([GREEN])
    assert "Not ready" not in _read([GREEN])


def test_nothing_gets_out_of_it() -> None:
    """No script, no image, no other host, no password; all that is shown is text."""
    page = _page([RED, GREEN, UNSEEN])
    reader = Reader(page)

    assert not {"script", "img", "link", "iframe"} & reader.tags
    assert {"style", "details", "table", "pre"} <= reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name == "src"]
    links = [value for name, value in reader.attributes if name == "href"]
    assert links
    assert all(each.startswith("#") for each in links)
    assert not re.search(r"url\(|@import", page)
    assert PASSWORD not in page
    assert "prefers-color-scheme: dark" in page


def test_a_plan_that_was_carried_out_takes_the_place_of_one_that_was_not() -> None:
    """The same statement stands there once."""
    planned = replace(RED.plans[0], read=None, returned=None)
    text = _read([RED, replace(GREEN, plans=(planned,))])

    assert text.count("120 rows read") == 1  # in the summary
    lone = replace(RED.plans[0], read=1.0)
    assert "1 row read, 10 returned" in _read([replace(RED, plans=(lone,))])
    assert "on empty tables" not in text
    assert "on empty tables" in _read([replace(GREEN, plans=(planned,))])


def test_a_plan_is_drawn_from_the_outside_in() -> None:
    """With conditions, order and what was thrown away."""
    scan = {
        "Node Type": "Index Scan",
        "Relation Name": "parcels",
        "Index Name": "parcels_pkey",
        "Index Cond": "(id = $1)",
        "Filter": "(weight > 1)",
        "Rows Removed by Filter": 3,
        "Actual Rows": 2,
        "Actual Loops": 1,
    }

    assert list(drawn({"Node Type": "Sort", "Sort Key": ["id", "at DESC"], "Plans": [scan]})) == [
        "Sort",
        "    Sort Key: id, at DESC",
        "  Index Scan parcels_pkey on parcels (2 rows)",
        "      Index Cond: (id = $1)",
        "      Filter: (weight > 1)",
        "      Rows Removed by Filter: 3",
    ]


@pytest.mark.parametrize(
    ("finding", "place"),
    [
        ("parcels.page: it has no limit", "a.py:1"),
        ("parcel.sent is acknowledged before its COMMIT", "b.py:2"),
        ("parcels.page.all: no", ""),
        ("the inbox has no key", ""),
    ],
)
def test_a_finding_has_the_place_of_what_it_names(finding: str, place: str) -> None:
    """A registered query, or the handler of a message."""
    assert named_in(finding, {"parcels.page": "a.py:1", "parcel.sent": "b.py:2"}) == place


def test_settings_are_shown_without_secrets(subject: Subject) -> None:
    """Neither in an address nor by themselves."""
    settings = subject.settings.model_copy(
        update={
            "database_url": f"postgresql://me:{PASSWORD}@db.example:5432/parcels?sslpassword=x",
            "operations_token": PASSWORD,
        }
    )
    found = shown(settings)

    assert found["DATABASE_URL"] == "postgresql://db.example:5432/parcels"
    assert found["OPERATIONS_TOKEN"] == "set"
    assert found["POOL_SIZE"] == str(settings.pool_size)
    assert not any(PASSWORD in each or "sslpassword" in each for each in found.values())
    assert about(subject).server.startswith("PostgreSQL 1")


def _page(results: Sequence[Result]) -> str:
    return str(Page(ABOUT, results, Redactor([PASSWORD])))


def _read(results: Sequence[Result]) -> str:
    return " ".join(Reader(_page(results)).words)
