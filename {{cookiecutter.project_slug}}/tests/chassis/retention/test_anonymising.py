"""Rows that stay and forget whom they are about, once they are old enough."""

import signal
from dataclasses import replace

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.retention.policy import Retention

from readiness.scratch import session
from tests.chassis.retention.papers import ANONYMOUS, KEEP, POLICY, Papers

TABLES = """
ALTER TABLE paper ADD writer text, ADD "what's in it" json, ADD remark text NOT NULL DEFAULT 'none';
"""
WRITTEN = """
UPDATE paper SET writer = 'Ada ' || id, "what's in it" = '{"by": "Ada"}', remark = 'by Ada'
"""
FORGOTTEN = """
SELECT count(*) FILTER (WHERE writer IS NULL AND "what's in it"::text = '{}' AND remark = 'gone'),
    count(*) FILTER (WHERE writer = 'Ada ' || id AND "what's in it"::text LIKE '%Ada%'
        AND remark = 'by Ada')
FROM paper
"""


@pytest.fixture
def papers(papers: Papers) -> Papers:
    """They say who has written them."""
    papers.sql(TABLES)
    return papers


@pytest.mark.usefixtures("each_driver")
def test_old_rows_stay_and_forget(papers: Papers) -> None:
    """All that refers to them stays as well; young ones are as they were, and it is done once."""
    papers.add(700, days=40)
    papers.add(10, after=700, days=1)
    papers.sql(WRITTEN)
    assert papers.run(ANONYMOUS).state == "ok"
    assert papers.sql(FORGOTTEN) == [(700, 10)]
    assert papers.counts() == (710, 1420, 2840)
    assert papers.run(ANONYMOUS).state == "ok"
    assert papers.log() == [("ok", {"paper": 700}), ("ok", {})]


def test_one_that_somebody_holds_is_passed_over(papers: Papers) -> None:
    """The others forget, and it is told that one has not."""
    papers.add(300, days=40)
    papers.sql(WRITTEN)
    with session(papers.url) as holder:
        holder.execute("BEGIN; SELECT FROM public.paper WHERE id = 7 FOR UPDATE")
        assert papers.run(ANONYMOUS).state == "partial"
    assert papers.sql(FORGOTTEN) == [(299, 1)]


def test_killed_at_random_it_goes_on(papers: Papers) -> None:
    """However often: each row has forgotten all, or nothing."""
    papers.add(4000, days=40)
    papers.sql(WRITTEN)
    for _ in range(3):
        before = papers.sql(FORGOTTEN)[0][0]
        with papers.child(policy="ANONYMOUS") as child:
            while papers.sql(FORGOTTEN)[0][0] == before:
                assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        forgotten, known = papers.sql(FORGOTTEN)[0]
        assert (before < forgotten < 4000, forgotten + known) == (True, 4000)
    assert papers.run(ANONYMOUS).state == "ok"
    assert papers.sql(FORGOTTEN) == [(4000, 0)]


UNFIT: dict[str, tuple[dict[str, str | None], str]] = {
    "no column": ({"author": None}, "public.paper has no column author, which anonymise names"),
    "its age": ({"at": None}, "by at rows of public.paper are found"),
    "its key": ({"id": "0"}, "by id rows of public.paper are found"),
    "no value": ({"remark": None}, "has to have a value: say which one stays, such as anonymise="),
    "no json": ({"what's in it": "gone"}, "invalid input syntax for type json"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_one_that_cannot_be_is_not_begun(papers: Papers, kind: str) -> None:
    """It says why, and nothing has changed."""
    columns, says = UNFIT[kind]
    papers.add(10, days=40)
    papers.sql(WRITTEN)
    ended = papers.run(Retention("paper", "at", KEEP, anonymise=columns))
    assert ended.state == "failed"
    assert says in ended.why
    assert papers.sql(FORGOTTEN) == [(0, 10)]


def test_rows_cannot_both_stay_and_go() -> None:
    """That would be two policies."""
    with pytest.raises(ConfigurationError, match="make two of it, each with a name"):
        replace(POLICY, anonymise={"writer": None})
