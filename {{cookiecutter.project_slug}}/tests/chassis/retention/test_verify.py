"""What is counted before, and what is found afterwards."""

from dataclasses import replace

import pytest

from acme_orders.chassis.retention.verify import Planned, plan, verify

from readiness.scratch import session
from tests.chassis.retention.papers import ANONYMOUS, POLICY, Papers


def findings(papers: Papers) -> list[str]:
    """As they are now."""
    return [each.text for each in verify(papers.url, [POLICY], interval=3600)]


def kinds(papers: Papers, *, statement: float = 0) -> dict[str, int]:
    """The same, as the metric tells it."""
    found = verify(papers.url, [POLICY], interval=3600, statement=statement)
    return {each.kind: each.rows for each in found}


def test_a_plan_counts_and_deletes_nothing(papers: Papers) -> None:
    """Of each table."""
    papers.add(20, days=40)
    papers.add(5, after=20, days=1)
    (planned,) = plan(papers.url, [POLICY])
    assert planned.rows == {"paper": 20, "page": 40, "line": 80}
    assert papers.counts() == (25, 50, 100)
    papers.sql("DROP INDEX paper_at")
    (refused,) = plan(papers.url, [POLICY])
    assert refused == Planned("paper", refused.cutoff, {}, refused.refused)
    assert "CREATE INDEX" in refused.refused


def test_what_should_not_be_there_is_found(papers: Papers) -> None:
    """Never run, expired, orphaned, overdue; and nothing when all is well."""
    papers.add(20, days=40)
    assert kinds(papers) == {"never_run": 1, "expired": 20}
    never, expired = findings(papers)
    assert never == "paper was never run to its end: `retention run --policy paper`"
    assert expired.startswith("20 rows of public.paper have expired: older than 20")
    papers.run()
    assert findings(papers) == []
    papers.sql("SET session_replication_role = replica; INSERT INTO page VALUES (77, 1), (78, 1)")
    papers.sql("ALTER TABLE line DROP CONSTRAINT line_paper_id_page_fkey")
    papers.sql("INSERT INTO line VALUES (5, 5, 5)")
    papers.sql(
        "ALTER TABLE line ADD FOREIGN KEY (paper_id, page) REFERENCES page (paper_id, number) "
        "NOT VALID"
    )
    pages, lines = sorted(findings(papers), reverse=True)
    assert pages.startswith("2 rows of public.page refer to rows of public.paper that are gone")
    assert lines.startswith("1 rows of public.line refer to rows of public.page that are gone")
    assert set(kinds(papers)) == {"orphaned"}
    papers.sql("DELETE FROM line; DELETE FROM page; ALTER TABLE retention_run DISABLE TRIGGER USER")
    papers.sql("UPDATE retention_run SET ended_at = now() - interval '3 hours'")
    papers.sql("ALTER TABLE paper RENAME at TO made_at")
    papers.run()
    overdue, unfit = findings(papers)
    assert "paper is overdue: its last good pass ended 10" in overdue
    assert "the last pass was failed: public.paper has no column at" in overdue
    assert "has no column at" in unfit
    assert kinds(papers) == {"overdue": 1, "unfit": 1}


SEVEN = "FROM generate_series(1, 7) AS id"
PAST_A_KEY = "SET session_replication_role = replica"
PAGES = f"{PAST_A_KEY}; INSERT INTO page SELECT id, 1 {SEVEN}"
LINES = f"{PAST_A_KEY}; INSERT INTO line SELECT id, 1, 1 {SEVEN}"
PAPERS = f"INSERT INTO paper SELECT id, '2001-01-01' {SEVEN}"
DRAFTS = f"{PAPERS}; UPDATE paper SET remark = 'draft' WHERE id < 4"
KNOWN = f"""{PAPERS}; UPDATE paper SET remark = 'gone', "what's in it" = '{{}}';
UPDATE paper SET writer = 'Ada' WHERE id < 4"""
NOTES = f"""
CREATE TABLE note (paper_id bigint PRIMARY KEY REFERENCES paper ON DELETE SET NULL);
{PAST_A_KEY}; INSERT INTO note SELECT id {SEVEN}
"""
AUTHORS = f"""
CREATE TABLE author (id bigint PRIMARY KEY); ALTER TABLE paper ADD author bigint;
INSERT INTO paper (id, at, author) SELECT id, now(), id {SEVEN};
ALTER TABLE paper ADD FOREIGN KEY (author) REFERENCES author NOT VALID
"""
PLANTED = {
    "old rows": (POLICY, PAPERS, 7),
    "old ones of a kind": (replace(POLICY, only={"remark": "draft"}), DRAFTS, 3),
    "old ones that have not forgotten": (ANONYMOUS, KNOWN, 3),
    "children of what is gone": (POLICY, PAGES, 7),
    "their children": (POLICY, LINES, 7),
    "children of rows that stay and forget": (ANONYMOUS, PAGES, 7),
    "rows that should have forgotten what is gone": (POLICY, NOTES, 7),
    "rows past a key that is not valid": (POLICY, AUTHORS, 7),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_each_row_that_is_planted_is_found(papers: Papers, kind: str) -> None:
    """All of them, and nothing else."""
    policy, plant, count = PLANTED[kind]
    assert papers.run(policy).state == "ok"
    assert not list(verify(papers.url, [policy], interval=3600))
    papers.sql(plant)
    (found,) = verify(papers.url, [policy], interval=3600)
    assert found.rows == count, found
    assert found.kind == ("expired" if "old" in kind else "orphaned")


def test_what_takes_too_long_is_told(papers: Papers) -> None:
    """A part of the process does not look for hours, and does not say that all is well either."""
    papers.run()
    with session(papers.url) as holder:
        holder.execute("BEGIN; LOCK TABLE public.paper")
        assert kinds(papers, statement=0.2) == {"unknown": 1}
        holder.execute("ROLLBACK")
    assert kinds(papers, statement=60) == {}
