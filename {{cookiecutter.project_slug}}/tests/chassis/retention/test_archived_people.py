"""People whose rows have gone into an archive: there too they are held, erased, and masked."""

import gzip
from functools import partial
from pathlib import Path

import pytest

from acme_orders.chassis.erasure.classes import FREE_TEXT, PERSONAL, Classes
from acme_orders.chassis.erasure.eraser import Eraser
from acme_orders.chassis.erasure.holding import held
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.sample.export import Sample

from tests.chassis.retention.papers import ARCHIVED, KEEP, Papers

ANN = "ann@example.org"
# As models have it: the archive refers to the same person, and its lines to its papers.
TABLES = """
CREATE TABLE author (id bigint PRIMARY KEY, email text);
INSERT INTO author VALUES (1, 'ann@example.org'), (2, 'bob@example.org');
ALTER TABLE paper ADD author bigint REFERENCES author (id);
ALTER TABLE paper_archive ADD author bigint REFERENCES author (id);
ALTER TABLE line_archive ADD FOREIGN KEY (paper_id) REFERENCES paper_archive (id)
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE line ADD seen_by text;
ALTER TABLE line_archive ADD seen_by text;
"""
WRITTEN = """
UPDATE paper SET author = 2 - id % 2,
    writer = CASE id % 2 WHEN 1 THEN 'Annie' ELSE 'Bob' END,
    remark = CASE id % 5 WHEN 1 THEN 'ask ann@example.org' ELSE 'none' END;
UPDATE line SET seen_by = CASE paper_id % 2 WHEN 1 THEN 'Annie' ELSE 'Bob' END
"""
SUBJECTS = (Subject("author", by=("email",)),)
PAPER = {"writer": PERSONAL, "what's in it": FREE_TEXT, "remark": FREE_TEXT}
LINE = {"seen_by": PERSONAL}
KINDS = {
    "author": {"email": PERSONAL},
    "paper": PAPER,
    "paper_archive": PAPER,
    "line": LINE,
    "line_archive": LINE,
}
FOUND = """
SELECT count(*) FILTER (WHERE told ~* 'ann'), count(*) FILTER (WHERE told ~ 'Bob') FROM (
    SELECT author::text FROM author UNION ALL SELECT paper::text FROM paper
    UNION ALL SELECT paper_archive::text FROM paper_archive UNION ALL SELECT line::text FROM line
    UNION ALL SELECT line_archive::text FROM line_archive) AS everything (told)
"""


@pytest.fixture
def papers(papers: Papers) -> Papers:
    """Ann and Bob have ten in the archive each, and five that are young."""
    papers.sql(TABLES)
    papers.add(20, days=40)
    papers.add(10, after=20, days=1)
    papers.sql(WRITTEN)
    assert papers.run(ARCHIVED).state == "ok"
    assert papers.sql("SELECT count(*) FROM paper_archive WHERE author = 1") == [(10,)]
    return papers


def test_who_is_erased_goes_from_the_archive_too(papers: Papers) -> None:
    """Whatever is about them, also where nothing says their name; and others stay."""
    assert papers.sql(FOUND) == [(1 + 15 + 60 + 3, 15 + 60)]
    eraser = Eraser(papers.url, SUBJECTS, {**KINDS, **OWN})
    with eraser.requests() as requests:
        identity = requests.receive(ANN, actor="test", days=30)
    ended = eraser.carry_out(eraser.named(identity), (ANN,))
    assert (ended.state, ended.error) == ("verified", None)
    assert papers.sql(FOUND) == [(0, 15 + 60)]
    assert papers.sql("SELECT count(*), count(author) FROM paper_archive") == [(20, 20)]


def test_who_is_held_stays_in_the_archive(papers: Papers) -> None:
    """However old it is there: an archive has a policy of its own."""
    papers.holds(lambda requests: requests.hold(ANN, actor="Legal", reason="a lawsuit"))
    policy = Retention("paper_archive", "at", KEEP, children=("line_archive",))
    ended = papers.run(policy, holds=partial(held, SUBJECTS))
    assert (ended.state, ended.why[:28]) == ("ok", "10 rows are on legal hold, a")
    assert papers.sql("SELECT count(*), max(author) FROM paper_archive") == [(10, 1)]


def test_a_sample_of_the_archive_names_nobody(papers: Papers, tmp_path: Path) -> None:
    """Its rows are in it, and what is personal there is not."""
    file = tmp_path / "x.gz"
    classes = [Classes(table, table.title(), kinds) for table, kinds in KINDS.items()]
    list(Sample(papers.url, {**OWN, **KINDS}, classes, "s" * 16, most=50).write(file))
    told = gzip.decompress(file.read_bytes()).decode()
    assert told.count('"public.paper_archive"') > 10
    assert not [name for name in ("ann", "bob") if name in told.lower()]
