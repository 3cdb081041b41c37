"""Papers with pages and lines of pages, some of them old."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

from acme_orders.chassis.backfills.session import backfill_session
from acme_orders.chassis.erasure.requests import Requests
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.one_pass import LIMITS, Progress
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.policy import Retention
from acme_orders.chassis.retention.runner import Runner

from readiness.scratch import session

# A pass waits for a vacuum of its table: one that comes by itself would meet any of these tests.
TABLES = """
CREATE TABLE paper (
    id bigint PRIMARY KEY, at timestamptz,
    writer text, "what's in it" json, remark text NOT NULL DEFAULT 'none'
) WITH (autovacuum_enabled = off);
CREATE INDEX paper_at ON paper (at);
CREATE TABLE page (
    paper_id bigint REFERENCES paper (id), number integer, PRIMARY KEY (paper_id, number)
);
CREATE TABLE line (
    paper_id bigint, page integer, number integer, PRIMARY KEY (paper_id, page, number),
    FOREIGN KEY (paper_id, page) REFERENCES page (paper_id, number)
);
CREATE TABLE paper_archive (LIKE paper INCLUDING INDEXES);
ALTER TABLE paper_archive ADD archived_at timestamptz DEFAULT now();
CREATE TABLE line_archive (LIKE line INCLUDING INDEXES);
"""
KEEP = timedelta(days=30)
POLICY = Retention("paper", "at", KEEP, children=("page", "line"))
ARCHIVED = replace(POLICY, archive={"paper": "paper_archive", "line": "line_archive"})
ANONYMOUS = Retention(
    "paper", "at", KEEP, anonymise={"writer": None, "what's in it": "{}", "remark": "gone"}
)
# The write-ahead log is that of the whole server, on which other tests work as well.
QUICK = replace(LIMITS, share=1, lock=0.1, look=0.05, first=100, largest=100, wal=2**40)
OURS = """
SELECT 1 FROM pg_stat_activity
WHERE application_name ~ 'retention' AND datname = current_database()
"""
# It waits in the middle of its work, for the case that whoever has to kill it has no turn.
CHILD = """
import signal, sys
from tests.chassis.retention import papers
from acme_orders.chassis.retention.runner import Runner
policy, portions = getattr(papers, sys.argv[2]), 0
for step in Runner(sys.argv[1], [policy], limits=papers.QUICK).run(anyway=True):
    portions += bool(step.rows)
    if portions == 12:
        signal.pause()
"""


class Papers:
    """The tables.

    Args:
        url: of their database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.sql(TABLES)

    def sql(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What one statement answers, in the schema that everybody has."""
        with session(self.url) as cursor:
            cursor.execute("SET search_path = public")
            cursor.execute(text, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def add(self, count: int, *, after: int = 0, days: float) -> None:
        """Papers of this age, with two pages each and two lines on each page."""
        numbers = f"generate_series({after + 1}, {after + count})"
        self.sql(
            f"INSERT INTO paper SELECT id, now() - id * interval '1 microsecond' - %s "
            f"FROM {numbers} AS id",
            timedelta(days=days),
        )
        self.sql(f"INSERT INTO page SELECT id, one FROM {numbers} AS id, generate_series(1, 2) one")
        self.sql(
            f"INSERT INTO line SELECT id, one, two FROM {numbers} AS id, "
            "generate_series(1, 2) one, generate_series(1, 2) two"
        )
        self.sql("ANALYZE paper, page, line")

    def runner(self, *policies: Retention, **options: Any) -> Runner:
        """Runs these, or the one policy of papers."""
        return Runner(self.url, policies or (POLICY,), **{"limits": QUICK, "most": 1, **options})

    def run(self, *policies: Retention, **options: Any) -> Progress:
        """Run a policy to its end; how it has ended."""
        with closing(self.runner(*policies, **options).run()) as steps:
            return list(steps)[-1]

    def holds(self, change: Callable[[Requests], Any]) -> Any:
        """Change what is on legal hold."""
        with (
            backfill_session(self.url) as session,
            session.transaction(entered(SHARED), QUICK, statement=5),
        ):
            return change(Requests(session.rows))

    def killed(self, policy: str, left: Callable[[], int]) -> Iterator[int]:
        """Run a policy and kill it in the middle, three times.

        Args:
            policy: one of the above.
            left: how many rows are.

        Yields:
            What is left when PostgreSQL knows that nobody is there any more.
        """
        for _ in range(3):
            before = left()
            with subprocess.Popen([sys.executable, "-c", CHILD, self.url, policy]) as child:
                while left() == before:
                    assert child.poll() is None
                child.send_signal(signal.SIGKILL)
            while self.sql(OURS):
                time.sleep(0.02)
            assert 0 < left() < before
            yield left()

    def counts(self) -> tuple[int, int, int]:
        """Papers, pages and lines."""
        return self.sql(
            "SELECT (SELECT count(*) FROM paper), (SELECT count(*) FROM page), "
            "(SELECT count(*) FROM line)"
        )[0]

    def log(self) -> list[tuple[Any, ...]]:
        """State and counts of each pass, in order."""
        return self.sql("SELECT state, deleted FROM retention_run ORDER BY started_at")
