"""Rows that are kept elsewhere: each is in its table or in the archive, never in both."""

import pytest

from acme_orders.chassis.retention.policy import Retention

from tests.chassis.retention.papers import ARCHIVED, POLICY, Papers

MARKED = "UPDATE paper SET writer = 'paper ' || id"
WHOLE = """
SELECT count(*), count(*) FILTER (WHERE writer = 'paper ' || id
    AND at < now() - interval '30 days' AND archived_at IS NOT NULL) FROM paper_archive
"""
LINES = "SELECT count(*), count(DISTINCT (paper_id, page, number)) FROM line_archive"


@pytest.mark.usefixtures("each_driver")
def test_what_goes_is_kept_as_it_was(papers: Papers) -> None:
    """With the rows below it, as far as they are kept; what is young stays where it is."""
    papers.add(1000, days=40)
    papers.add(10, after=1000, days=1)
    papers.sql(MARKED)
    assert papers.run(ARCHIVED).state == "ok"
    assert papers.counts() == (10, 20, 40)
    assert papers.sql(WHOLE) == [(1000, 1000)]
    assert papers.sql(LINES) == [(4000, 4000)]
    assert papers.log() == [("ok", {"paper": 1000, "page": 2000, "line": 4000})]


def test_a_table_without_children_too(papers: Papers) -> None:
    """Whose rows would go at once without an archive."""
    papers.sql("CREATE TABLE note (id bigint PRIMARY KEY, at timestamptz)")
    papers.sql("CREATE INDEX ON note (at)")
    papers.sql("CREATE TABLE old_note (LIKE note)")
    papers.sql("INSERT INTO note SELECT id, '2001-01-01' FROM generate_series(1, 700) AS id")
    assert papers.run(Retention("note", "at", POLICY.keep, archive={"note": "old_note"})).state
    assert papers.sql("SELECT (SELECT count(*) FROM note), count(DISTINCT id) FROM old_note") == [
        (0, 700)
    ]


def test_killed_at_random_each_row_is_kept_once(papers: Papers) -> None:
    """However often: all rows are found again, in one of the two."""
    papers.add(4000, days=40)
    papers.sql(MARKED)
    for left in papers.killed("ARCHIVED", lambda: papers.counts()[0]):
        assert papers.sql(WHOLE) == [(4000 - left, 4000 - left)]
        assert papers.sql(LINES) == [(4 * (4000 - left),) * 2]
    assert papers.run(ARCHIVED).state == "ok"
    assert papers.sql(WHOLE) == [(4000, 4000)]
    assert papers.sql(LINES) == [(16_000, 16_000)]


def test_what_the_archive_does_not_take_stays(papers: Papers) -> None:
    """A row with the key of one that is there already; it is not overwritten, nor lost."""
    papers.add(10, days=40)
    papers.sql(MARKED)
    papers.sql("INSERT INTO paper_archive (id, remark) VALUES (7, '')")
    ended = papers.run(ARCHIVED)
    assert ended.state == "failed"
    assert "paper_archive_pkey" in ended.why
    assert papers.counts() == (10, 20, 40)
    assert papers.sql(LINES) == [(0, 0)]
