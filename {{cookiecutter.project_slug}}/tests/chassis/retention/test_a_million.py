"""A million rows in three tables, killed in the middle, under the eyes of PostgreSQL."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from acme_orders.chassis.retention.one_pass import LIMITS
from acme_orders.chassis.retention.verify import verify

from dev.postgres import Postgres
from readiness.scratch import session
from tests.chassis.conftest import migrate
from tests.chassis.retention.papers import OURS, POLICY, Papers

ROWS = int(os.environ.get("RETENTION_ROWS", "340000"))  # in each of three tables
OLD, YOUNG, KILLS = ROWS * 19 // 20, ROWS // 20, 5
# The server writes down how long each statement took, and which session has waited for a lock for
# longer than the limit of a pass.
TOLD = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_directory": "log",
    "log_filename": "postgresql",
    "log_file_mode": "0644",
    "log_duration": "on",
    "log_min_error_statement": "panic",
    "log_lock_waits": "on",
    "deadlock_timeout": f"{LIMITS.lock + 0.5}s",
    "max_wal_size": "4GB",
}
FILL = """
SET search_path = public;
SET session_replication_role = replica;
INSERT INTO paper SELECT id, now() - id * interval '1 microsecond'
    - CASE WHEN id <= {old} THEN interval '40 days' ELSE interval '1 day' END
FROM generate_series(1, {all}) AS id;
INSERT INTO page SELECT id, 1 FROM generate_series(1, {all}) AS id;
INSERT INTO line SELECT id, 1, 1 FROM generate_series(1, {all}) AS id;
ANALYZE paper, page, line
"""
WHAT_STAYS = "SELECT md5(string_agg({0}::text, ',' ORDER BY {0})), count(*) FROM {1} WHERE {0} > %s"
CHILD = """
import sys
from acme_orders.chassis.retention.runner import Runner
from tests.chassis.retention.papers import POLICY
from tests.chassis.retention.test_a_million import WORK
for _ in Runner(sys.argv[1], [POLICY], limits=WORK).run(anyway=True):
    pass
"""
WORK = replace(LIMITS, share=1)


@pytest.fixture
def server() -> Iterator[Postgres]:
    """One that tells everything."""
    with Postgres(settings=TOLD) as postgres:
        yield postgres


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_million_rows_go_though_it_is_killed_five_times(server: Postgres) -> None:
    """What should go is gone, what should stay is there, and the log tells it to the row.

    While it runs, somebody holds a row of the lowest level for longer than a lock is waited for.
    """
    url = server.create_database()
    migrate(url)
    papers = Papers(url)
    with session(url) as cursor:
        for statement in FILL.format(old=OLD, all=OLD + YOUNG).split(";"):
            cursor.execute(statement)
    before = stays(papers)
    for kill in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", CHILD, url]) as child:
            while gone(papers)["paper"] < OLD * (kill + 1) // (KILLS + 2):
                assert child.poll() is None
                time.sleep(0.02)
            held(papers, child)
            child.send_signal(signal.SIGKILL)
        while papers.sql(OURS):
            time.sleep(0.02)
    assert papers.run(limits=WORK).state == "ok"
    assert papers.counts() == (YOUNG, YOUNG, YOUNG)
    assert stays(papers) == before
    assert [state for state, _ in papers.log()] == ["partial"] * KILLS + ["ok"]
    assert gone(papers) == {"paper": OLD, "page": OLD, "line": OLD}
    assert digest(papers) == f"{digest_of(range(1, OLD + 1)):064x}"
    within_limits(server)
    found_by_verify(papers)


def held(papers: Papers, child: "subprocess.Popen[bytes]") -> None:
    """Hold a line of one of the next papers until the pass could not go on with it."""
    with session(papers.url) as holder:
        holder.execute("SET search_path = public; BEGIN")
        holder.execute(
            "SELECT FROM line WHERE paper_id = (SELECT id FROM paper ORDER BY at LIMIT 1 "
            f"OFFSET {OLD // 30}) FOR UPDATE"
        )
        waiting = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
        until = time.monotonic() + 60
        while not papers.sql(waiting) and time.monotonic() < until:
            assert child.poll() is None
            time.sleep(0.005)
        time.sleep(2 * LIMITS.lock)
        holder.execute("ROLLBACK")


def stays(papers: Papers) -> list[tuple[object, ...]]:
    """The rows that are young, of each table, by their keys."""
    return [
        papers.sql(WHAT_STAYS.format(key, table), OLD)[0]
        for key, table in (("id", "paper"), ("paper_id", "page"), ("paper_id", "line"))
    ]


def gone(papers: Papers) -> Counter[str]:
    """What the log says, of all passes together."""
    return sum((Counter(deleted) for _, deleted in papers.log()), Counter[str]())


def digest(papers: Papers) -> str:
    """Of all passes together."""
    found = papers.sql("SELECT digest FROM retention_run WHERE digest IS NOT NULL")
    return f"{sum(int(each, 16) for (each,) in found) % 2**256:064x}"


def digest_of(keys: range) -> int:
    """What it should be."""
    return sum(int(hashlib.sha256(str(key).encode()).hexdigest(), 16) for key in keys) % 2**256


def within_limits(server: Postgres) -> None:
    """No statement took longer than it may, and no wait for a lock either."""
    folder = Path(server.ask("SHOW data_directory")) / "log"
    lines = [
        json.loads(line)
        for file in sorted(folder.iterdir())
        if file.suffix == ".json"
        for line in file.read_text("utf-8").splitlines()
    ]
    ours = [each for each in lines if "retention" in each.get("application_name", "")]
    matches = (re.match(r"duration: ([\d.]+) ms", each["message"]) for each in ours)
    seconds = [float(match[1]) / 1000 for match in matches if match]
    assert len(seconds) > 100
    assert max(seconds) <= LIMITS.statement
    refused = Counter(each["state_code"] for each in ours if each["error_severity"] == "ERROR")
    assert refused["55P03"] >= 1, "nobody was in the way, so the limit of locks is not proved"
    assert set(refused) <= {"55P03", "57014"}, refused
    assert not [each["message"] for each in ours if "still waiting" in each["message"]]


def found_by_verify(papers: Papers) -> None:
    """Each row that is planted: expired ones, and orphans on both levels."""
    assert list(verify(papers.url, [POLICY], interval=3600)) == []
    first = OLD + YOUNG + 1
    papers.add(40, after=first - 1, days=41)  # with two pages each, and two lines on each page
    with session(papers.url) as cursor:
        cursor.execute("SET search_path = public")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM paper WHERE id BETWEEN %s AND %s", (first, first + 9))
        cursor.execute("DELETE FROM page WHERE paper_id >= %s AND number = 2", (first + 30,))
    found = verify(papers.url, [POLICY], interval=3600)
    expired, pages, lines = (each.text for each in found)
    assert expired.startswith("30 rows of public.paper have expired")
    assert {pages.partition(" refer")[0], lines.partition(" refer")[0]} == {
        "20 rows of public.page",
        "20 rows of public.line",
    }
