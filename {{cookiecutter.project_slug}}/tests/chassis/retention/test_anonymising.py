"""Rows that stay and forget whom they are about, once they are old enough."""

from dataclasses import replace

import pytest

from acme_orders.chassis.errors import ConfigurationError

from readiness.scratch import session
from tests.chassis.retention.papers import ANONYMOUS, POLICY, Papers

WRITTEN = """
UPDATE paper SET writer = 'Ada ' || id, "what's in it" = '{"by": "Ada"}', remark = 'by Ada'
"""
FORGOTTEN = """
SELECT count(*) FILTER (WHERE writer IS NULL AND "what's in it"::text = '{}' AND remark = 'gone'),
    count(*) FILTER (WHERE writer = 'Ada ' || id AND "what's in it"::text LIKE '%Ada%'
        AND remark = 'by Ada')
FROM paper
"""


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
    for left in papers.killed("ANONYMOUS", lambda: papers.sql(FORGOTTEN)[0][1]):
        assert papers.sql(FORGOTTEN) == [(4000 - left, left)]
    assert papers.run(ANONYMOUS).state == "ok"
    assert papers.sql(FORGOTTEN) == [(4000, 0)]


def test_rows_cannot_both_stay_and_go() -> None:
    """That would be two policies."""
    with pytest.raises(ConfigurationError, match="make two of it, each with a name"):
        replace(POLICY, anonymise={"writer": None})
