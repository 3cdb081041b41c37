"""A pass deletes what is too old, all that refers to it, and nothing else."""

import hashlib
import re
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo

import pytest

from acme_orders.chassis.errors import Conflict
from acme_orders.chassis.retention import plausible
from acme_orders.chassis.retention.policy import Retention

from readiness.scratch import session
from tests.chassis.retention.papers import POLICY, QUICK, Papers


@pytest.mark.usefixtures("each_driver")
def test_what_is_old_goes_with_all_below_it(papers: Papers) -> None:
    """Leaf first; the log counts each table, and has a digest of the keys."""
    papers.add(1000, days=40)
    papers.add(300, after=1000, days=20)
    papers.sql("INSERT INTO paper VALUES (5000, NULL), (5001, 'infinity'), (5002, '-infinity')")
    assert papers.run().state == "ok"
    assert papers.counts() == (302, 600, 1200)
    assert papers.log() == [("ok", {"paper": 1001, "page": 2000, "line": 4000})]
    keys = (hashlib.sha256(str(key).encode()).hexdigest() for key in [*range(1, 1001), 5002])
    digest = sum(int(each, 16) for each in keys) % 2**256
    assert papers.sql("SELECT digest FROM retention_run") == [(f"{digest:064x}",)]
    assert papers.run().state == "ok"
    assert papers.log()[-1] == ("ok", {})


def test_each_row_is_read_once(papers: Papers) -> None:
    """Portions go along the index, through rows of one age in the order of their keys.

    Those that have the same age are read again by each portion that has some of them.
    """
    papers.add(6000, days=40)
    papers.sql("UPDATE paper SET at = now() - interval '40 days' + id / 250 * interval '1 s'")
    papers.sql("TRUNCATE page, line")
    papers.sql("VACUUM ANALYZE paper")
    before = papers.sql(READS)[0][0]
    limits = replace(QUICK, target=(0, 60))  # however busy the machine is
    with closing(papers.runner(limits=limits).run(anyway=True)) as steps:
        portions = [step.rows for step in steps if not step.waits]
    assert portions == [100] * 60 + [0]
    assert papers.sql(READS)[0][0] - before < 5 * 6000


@pytest.mark.usefixtures("each_driver")
@pytest.mark.parametrize("parts", ["", " PARTITION BY HASH (id)"])
def test_rows_that_go_alone_go_at_once(papers: Papers, parts: str) -> None:
    """In one statement, also of a table of partitions, where two rows may have one place."""
    papers.sql(f"CREATE TABLE note (id bigint PRIMARY KEY, at timestamptz){parts}")
    for part in (0, 1) if parts else ():
        papers.sql(
            f"CREATE TABLE note_{part} PARTITION OF note "
            f"FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
        )
    papers.sql("CREATE INDEX ON note (at)")
    papers.sql(
        "INSERT INTO note SELECT id, now() - interval '1 day' * (id / 100) "
        "FROM generate_series(1, 6000) AS id"
    )
    policy = Retention("note", "at", POLICY.keep)
    with session(papers.url) as holder:
        holder.execute("BEGIN; SELECT FROM public.note WHERE id = 4501 FOR UPDATE")
        assert papers.run(policy).state == "partial"
        holder.execute("ROLLBACK")
    assert papers.run(policy).state == "ok"
    assert papers.sql("SELECT count(*), max(id) FROM note") == [(2999, 2999)]
    assert [each["note"] for _, each in papers.log()] == [3000, 1]
    digests = papers.sql("SELECT digest FROM retention_run")
    keys = (hashlib.sha256(str(key).encode()).hexdigest() for key in range(3000, 6001))
    together = sum(int(digest, 16) for (digest,) in digests) % 2**256
    assert together == sum(int(each, 16) for each in keys) % 2**256


def test_a_row_that_may_not_go_stays_alone(papers: Papers) -> None:
    """A trigger keeps it; it is not counted, and the pass is partial."""
    papers.sql("CREATE TABLE note (id bigint PRIMARY KEY, at timestamptz DEFAULT '2001-01-01')")
    papers.sql("CREATE INDEX ON note (at)")
    papers.sql("INSERT INTO note SELECT generate_series(1, 300)")
    papers.sql(
        "CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN CASE WHEN old.id <> 150 THEN old END; END $$; "
        "CREATE TRIGGER stays BEFORE DELETE ON note FOR EACH ROW EXECUTE FUNCTION stays()"
    )
    assert papers.run(Retention("note", "at", POLICY.keep)).state == "partial"
    assert papers.sql("SELECT id FROM note") == [(150,)]
    assert papers.log() == [("partial", {"note": 299})]


def test_a_row_that_somebody_has_is_visited_again(papers: Papers) -> None:
    """The second time it is deleted; while it is held, the pass is partial and never ok."""
    papers.add(1000, days=40)
    with session(papers.url) as holder:
        holder.execute("BEGIN; SELECT FROM paper WHERE id = 500 FOR UPDATE")
        ended = papers.run()
        assert (ended.state, papers.counts()[0]) == ("partial", 1)
        assert "in hand" in ended.why
        with closing(papers.runner().run()) as steps:
            papers.add(150, after=1000, days=35)
            next(steps)
            holder.execute("ROLLBACK")
            assert list(steps)[-1].state == "ok"
    assert papers.counts() == (0, 0, 0)
    assert [state for state, _ in papers.log()] == ["partial", "ok"]


def test_a_child_that_somebody_has_keeps_its_parent_alone(papers: Papers) -> None:
    """Portions are halved down to that row; all others go."""
    papers.add(300, days=40)
    with session(papers.url) as holder:
        holder.execute("BEGIN; SELECT FROM line WHERE paper_id = 77 FOR UPDATE")
        assert papers.run(limits=replace(QUICK, patience=2)).state == "partial"
        assert papers.counts() == (1, 2, 4)
        holder.execute("ROLLBACK")
    assert papers.run().state == "ok"


def test_killed_at_random_the_log_tells_what_went(papers: Papers) -> None:
    """Counts commit with their portion; the next runner ends the line of the one before."""
    papers.add(8000, days=40)
    papers.add(10, after=8000, days=1)
    assert len(list(papers.killed("POLICY", lambda: papers.counts()[0]))) == 3
    assert papers.run().state == "ok"
    assert papers.counts() == (10, 20, 40)
    log = papers.log()
    assert [state for state, _ in log] == ["partial", "partial", "partial", "ok"]
    for table, count in (("paper", 8000), ("page", 16_000), ("line", 32_000)):
        assert sum(deleted.get(table, 0) for _, deleted in log) == count
    digests = papers.sql("SELECT digest FROM retention_run")
    together = sum(int(digest, 16) for (digest,) in digests) % 2**256
    keys = (hashlib.sha256(str(key).encode()).hexdigest() for key in range(1, 8001))
    assert together == sum(int(each, 16) for each in keys) % 2**256


def test_one_runner_at_a_time(papers: Papers) -> None:
    """A second one is told; after the end of the first it may begin."""
    papers.add(300, days=40)
    with closing(papers.runner().run()) as first:
        next(first)
        with pytest.raises(Conflict, match="another process"):
            papers.run()
    assert papers.log()[0][0] == "partial"
    assert papers.run().state == "ok"


def test_too_much_is_refused_before_anything_goes(papers: Papers) -> None:
    """A clock that jumped, or a policy that nobody meant; somebody may say that it is meant."""
    papers.add(11_000, days=40)
    papers.add(9000, after=11_000, days=1)
    ended = papers.run(most=0.5)
    assert ended.state == "refused"
    assert "more than 10000 of about 20000 rows" in ended.why
    assert "retention run --policy paper --anyway" in ended.why
    assert papers.counts()[0] == 20_000
    with closing(papers.runner(most=0.5).run(anyway=True)) as steps:
        assert list(steps)[-1].state == "ok"
    assert papers.counts()[0] == 9000


@pytest.mark.parametrize(("jump", "says"), [(400, "behind"), (-400, "ahead of")])
def test_a_clock_that_jumped_deletes_nothing(
    papers: Papers, monkeypatch: pytest.MonkeyPatch, jump: int, says: str
) -> None:
    """Ours or that of PostgreSQL: one of them is wrong, and who knows which."""

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=jump)

    papers.add(10, days=40)
    monkeypatch.setattr(plausible, "datetime", Jumped)
    ended = papers.run()
    assert ended.state == "refused"
    assert re.search(rf"clock of PostgreSQL is \d+ s {says} ours", ended.why)
    assert papers.counts()[0] == 10


def test_what_has_ended_is_never_changed(papers: Papers) -> None:
    """PostgreSQL refuses it, to whoever it is; a line goes when it is old."""
    papers.run()
    for change in ("UPDATE retention_run SET state = 'ok'", "DELETE FROM retention_run"):
        with pytest.raises(Exception, match="stays as it is"):
            papers.sql(change)
    papers.sql(
        "INSERT INTO retention_run (id, trace_id, policy, actor, cutoff, started_at) SELECT "
        "gen_random_uuid(), md5(''), 'paper', 'x', now(), now() - interval '401 days'"
    )
    old = Retention("retention_run", "started_at", timedelta(days=400))
    assert papers.run(old).state == "ok"
    assert len(papers.log()) == 2


READS = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'paper_at'"


def test_a_child_that_forgets_its_parent_stays(papers: Papers) -> None:
    """Nobody has to declare it, but it needs an index as well."""
    papers.sql("CREATE TABLE note (id bigint, paper_id bigint REFERENCES paper ON DELETE SET NULL)")
    papers.add(10, days=40)
    papers.sql("INSERT INTO note VALUES (1, 3)")
    assert "CREATE INDEX CONCURRENTLY note_paper_id ON note (paper_id)" in papers.run().why
    papers.sql("CREATE INDEX ON note (paper_id)")
    assert papers.run().state == "ok"
    assert papers.sql("SELECT paper_id FROM note") == [(None,)]


def test_only_those_that_it_means(papers: Papers) -> None:
    """A value that a row has to have; the index may begin with it."""
    papers.add(10, days=40)
    papers.sql("ALTER TABLE paper ADD state text DEFAULT 'open'; DROP INDEX paper_at")
    papers.sql("UPDATE paper SET state = 'it''s 100 %' WHERE id <= 4")
    papers.sql("CREATE INDEX ON paper (state, at)")
    policy = replace(POLICY, only={"state": "it's 100 %"})
    assert papers.run(policy).state == "ok"
    assert papers.counts() == (6, 12, 24)


def test_it_rests_and_waits_for_others(papers: Papers) -> None:
    """Each statement has its limits, and an old transaction of others lets it wait."""
    papers.add(300, days=40)
    limits = replace(QUICK, oldest=0.5)
    with session(papers.url) as old:
        old.execute("BEGIN; SELECT 1")
        papers.sql("SELECT pg_sleep(0.6)")
        with closing(papers.runner(limits=limits).run()) as steps:
            assert re.match(r"a transaction is \d+ s old", next(steps).waits)
            old.execute("COMMIT")
            assert list(steps)[-1].state == "ok"


# feature: row, rls {
@pytest.mark.parametrize("whose", ["00000000-0000-0000-0000-00000000dead", "nobody"])
def test_a_policy_for_a_tenant_that_is_unknown(papers: Papers, whose: str) -> None:
    """It is not ok, though it would have nothing to delete for ever."""
    papers.sql("ALTER TABLE paper ADD tenant_id uuid")
    policy = replace(POLICY, only={"tenant_id": whose})
    papers.add(10, days=40)
    ended = papers.run(policy)
    assert ended.state == "failed"
    assert f"is for the tenant {whose}, and there is none: `tenants list`" in ended.why
    papers.sql("INSERT INTO tenants (id, name) VALUES (gen_random_uuid(), 'x')")
    papers.sql("UPDATE paper SET tenant_id = (SELECT id FROM tenants WHERE name = 'x')")
    ((known,),) = papers.sql("SELECT id::text FROM tenants WHERE name = 'x'")
    ended = papers.run(replace(POLICY, only={"tenant_id": known}))
    assert (ended.state, ended.why) == ("ok", "")
    assert papers.counts() == (0, 0, 0)


def test_rows_of_tenants_go_one_tenant_after_the_other(papers: Papers) -> None:
    """Where the index of the age begins with the tenant, which a pass would have to read whole."""
    papers.sql(
        "INSERT INTO tenants (id, name) "
        "SELECT gen_random_uuid(), 'tenant ' || number FROM generate_series(1, 3) AS number"
    )
    papers.sql(
        "CREATE TABLE note "
        "(tenant_id uuid, id integer, at timestamptz, PRIMARY KEY (tenant_id, id))"
    )
    policy = Retention("note", "at", POLICY.keep)
    assert "no index of public.note begins with at" in papers.run(policy).why
    papers.sql("CREATE INDEX note_at ON note (tenant_id, at)")
    papers.sql(
        "INSERT INTO note SELECT tenants.id, day, now() - day * interval '1 day' "
        "FROM tenants, generate_series(1, 60) AS day"
    )
    assert papers.run(policy).state == "ok"
    ((tenants, left),) = papers.sql(
        "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM note)"
    )
    assert left == tenants * 29
    assert papers.log()[-1] == ("ok", {"note": tenants * 31})


# feature: row, rls }
