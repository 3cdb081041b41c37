"""What cannot be done as a policy says is not begun, and the line to write is told."""

from dataclasses import replace

import pytest

from acme_orders.chassis.retention.policy import Retention

from tests.chassis.retention.papers import ANONYMOUS, ARCHIVED, POLICY, Papers

READING = "CREATE POLICY reading ON {0} FOR SELECT USING (true)"
CHANGING = "CREATE POLICY changing ON {0} FOR UPDATE USING (true)"
GOING = "CREATE POLICY going ON {0} FOR DELETE USING (true)"
ALL = "CREATE POLICY everything ON {0} USING (true)"
NOT_LATE = "CREATE POLICY not_late ON {0} AS RESTRICTIVE FOR DELETE USING (id < 5)"


def secured(table: str, *policies: str) -> str:
    """SQL for row-level security with these."""
    on = f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    return "; ".join((on, *(each.format(table) for each in policies)))


def anonymous(**columns: str | None) -> Retention:
    """A policy by which papers forget these."""
    return replace(ANONYMOUS, anonymise=columns)


DELETED = {
    "no index": ("DROP INDEX paper_at", "CREATE INDEX CONCURRENTLY paper_at ON paper (at)"),
    "another index": (
        "DROP INDEX paper_at; CREATE INDEX ON paper (id, at)",
        "no index of public.paper begins with at",
    ),
    "a partial index": (
        "DROP INDEX paper_at; CREATE INDEX ON paper (at) WHERE id > 7",
        "no index of public.paper begins with at",
    ),
    "no column": ("ALTER TABLE paper RENAME at TO made_at", "has no column at"),
    "an undeclared child": (
        "CREATE TABLE note (paper_id bigint PRIMARY KEY REFERENCES paper (id))",
        'write children=("line", "note", "page",)',
    ),
    "one that cascades": (
        "CREATE TABLE note (paper_id bigint PRIMARY KEY REFERENCES paper (id) ON DELETE CASCADE)",
        'write children=("line", "note", "page",)',
    ),
    "an undeclared grandchild": (
        """CREATE TABLE note (a bigint, b integer, c integer, PRIMARY KEY (a, b, c),
        FOREIGN KEY (a, b, c) REFERENCES line (paper_id, page, number))""",
        "public.note refers to public.line",
    ),
    "a child without an index": (
        "ALTER TABLE line ADD other bigint REFERENCES paper (id)",
        "CREATE INDEX CONCURRENTLY line_other ON line (other)",
    ),
    "a child that is none": (
        "ALTER TABLE line DROP CONSTRAINT line_paper_id_page_fkey",
        "line is among the children of public.paper, and does not refer to it",
    ),
    "a reference to itself": (
        "ALTER TABLE paper ADD below bigint REFERENCES paper (id); CREATE INDEX ON paper (below)",
        "refers to itself",
    ),
}
HIDDEN = {
    "all rows": (
        POLICY,
        secured("paper"),
        "row-level security hides rows of public.paper from acme_orders_s",
    ),
    "those to be locked": (POLICY, secured("paper", READING, GOING), "rows of public.paper from"),
    "those to be deleted": (
        POLICY,
        secured("paper", READING, CHANGING),
        "CREATE POLICY system ON public.paper TO acme_orders_s",
    ),
    "some of them": (
        POLICY,
        secured("paper", ALL, NOT_LATE),
        "by what is restrictive: let not_late be TO other roles",
    ),
    "those below": (POLICY, secured("line", READING), "hides rows of public.line from"),
    "those to be changed": (
        ANONYMOUS,
        secured("paper", READING, GOING),
        "hides rows of public.paper from",
    ),
    "those of an archive": (
        ARCHIVED,
        secured("paper_archive", READING, CHANGING, GOING),
        "hides rows of public.paper_archive from",
    ),
}
ARCHIVES = {
    "no archive": (
        ARCHIVED,
        "DROP TABLE paper_archive",
        "CREATE TABLE paper_archive (LIKE paper INCLUDING INDEXES)",
    ),
    "a column less": (
        ARCHIVED,
        """ALTER TABLE paper_archive DROP "what's in it" """,
        'ALTER TABLE public.paper_archive ADD "what\'s in it" json',
    ),
    "another type": (
        ARCHIVED,
        "ALTER TABLE line_archive ALTER number TYPE smallint",
        "public.line_archive.number is smallint, and in public.line it is integer",
    ),
    "one that comes before what it refers to": (
        ARCHIVED,
        "ALTER TABLE line_archive ADD FOREIGN KEY (paper_id) REFERENCES paper_archive",
        "ALTER CONSTRAINT line_archive_paper_id_fkey DEFERRABLE INITIALLY DEFERRED",
    ),
    "the archive of another": (
        replace(POLICY, archive={"lines": "line_archive"}),
        "",
        "archive names lines, whose rows do not go",
    ),
    "an archive that goes": (
        replace(POLICY, archive={"paper": "line"}),
        "",
        "line is the archive of paper, and its rows go",
    ),
}
FORGETTING = {
    "no column to forget": (
        anonymous(author=None),
        "",
        "public.paper has no column author, which anonymise names",
    ),
    "its age": (anonymous(at=None), "", "by at rows of public.paper are found"),
    "its key": (anonymous(id="0"), "", "by id rows of public.paper are found"),
    "no value": (anonymous(remark=None), "", "say which one stays, such as anonymise="),
    "no json": (
        anonymous(**{"what's in it": "gone"}),
        "",
        "invalid input syntax for type json",
    ),
}
UNFIT = {
    **{kind: (POLICY, *each) for kind, each in DELETED.items()},
    **HIDDEN,
    **ARCHIVES,
    **FORGETTING,
}
WHOLE = "SELECT count(*), count(writer), count(DISTINCT remark) FROM paper"


@pytest.mark.parametrize("kind", UNFIT)
def test_what_cannot_be_done_as_declared_is_not_begun(papers: Papers, kind: str) -> None:
    """With the line to write; nothing has gone, and nothing has changed."""
    policy, defect, says = UNFIT[kind]
    papers.add(10, days=40)
    papers.sql("UPDATE paper SET writer = 'Ada'")
    if defect:
        papers.sql(defect)
    ended = papers.run(policy)
    assert ended.state == "failed", ended
    assert says in ended.why
    assert papers.counts() == (10, 20, 40)
    assert papers.sql(WHOLE) == [(10, 10, 1)]
