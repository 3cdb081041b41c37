"""Rows of somebody on legal hold stay, however old they are."""

from contextlib import closing
from functools import partial

import pytest

from acme_orders.chassis.erasure.holding import held
from acme_orders.chassis.erasure.requests import Requests
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.retention.verify import plan, verify

from tests.chassis.retention.papers import POLICY, Papers

ANN = "Ann@example.org"
HOLDS = partial(held, (Subject("author", by=("email", "phone")),))
TABLES = """
CREATE TABLE author (id bigint PRIMARY KEY, email text, phone text);
INSERT INTO author VALUES (1, 'ann@example.org', '+49 30 12345'), (2, 'bob@example.org', NULL);
ALTER TABLE paper ADD author bigint REFERENCES author (id);
ALTER TABLE line ADD reviewer bigint REFERENCES author (id);
"""


@pytest.fixture
def papers(papers: Papers) -> Papers:
    """300 old ones by Bob, and three by Ann; she has seen a line of another one."""
    papers.sql(TABLES)
    papers.add(300, days=40)
    papers.sql("UPDATE paper SET author = 2 - (id > 297)::integer")
    papers.sql("UPDATE line SET reviewer = 1 WHERE paper_id = 7 AND page = 2 AND number = 1")
    return papers


def hold(requests: Requests, name: str = ANN) -> None:
    """As `erase hold` does."""
    requests.hold(name, actor="Legal", reason="a lawsuit")


def release(requests: Requests) -> None:
    """As `erase release` does."""
    assert requests.release(ANN) == 1


@pytest.mark.usefixtures("each_driver")
def test_what_is_about_somebody_on_hold_stays(papers: Papers) -> None:
    """With what is below it; the pass is ok, and says so, and nothing of it has expired."""
    papers.holds(hold)
    (planned,) = plan(papers.url, [POLICY], HOLDS)
    assert planned.rows == {"paper": 296, "page": 592, "line": 1184}
    ended = papers.run(holds=HOLDS)
    assert (ended.state, ended.why[:27]) == ("ok", "4 rows are on legal hold, a")
    assert papers.sql("SELECT id FROM paper ORDER BY id") == [(7,), (298,), (299,), (300,)]
    assert papers.counts() == (4, 8, 16)
    assert papers.sql("SELECT error FROM retention_run") == [(ended.why,)]
    assert not list(verify(papers.url, [POLICY], interval=3600, holds=HOLDS))
    papers.holds(release)
    ended = papers.run(holds=HOLDS)
    assert (ended.state, ended.why, papers.counts()) == ("ok", "", (0, 0, 0))


def test_a_hold_counts_from_the_next_portion_on(papers: Papers) -> None:
    """Whoever is held while a pass runs does not have to wait for its end."""
    with closing(papers.runner(holds=HOLDS).run()) as steps:
        assert next(steps).rows == 100
        papers.holds(lambda requests: hold(requests, "+49 30 12345"))
        assert list(steps)[-1].state == "ok"
    assert papers.sql("SELECT id FROM paper") == [(7,)]  # those with a high number are older


def test_a_hold_of_somebody_else_holds_nobody_here(papers: Papers) -> None:
    """Nor does one that has ended."""
    papers.holds(hold)
    papers.holds(release)
    papers.holds(lambda requests: hold(requests, "mary.ann@example.org"))
    assert papers.run(holds=HOLDS).why == ""
    assert papers.counts() == (0, 0, 0)
