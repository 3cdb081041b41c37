"""A backfill changes each row once, wherever it is interrupted, and loses nothing of others."""

import random
import signal
import threading
import time
from contextlib import closing
from dataclasses import replace
from statistics import median

import pytest

from acme_orders.chassis.backfills.runner import Failed

from readiness.scratch import session
from tests.chassis.backfills.tickets import FILL, QUICK, Tickets
from tests.chassis.integration.migrating import wait_until

FEW = replace(QUICK, first=100, largest=100)


def until(tickets: Tickets, rows: int) -> None:
    """Wait until a runner in another process has done so many rows."""
    deadline = time.monotonic() + 60
    while tickets.state().get("rows_done", 0) < rows:
        assert time.monotonic() < deadline, tickets.state()
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("count", "kills"),
    [(50_000, 3), pytest.param(1_000_000, 10, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_killed_at_random_it_goes_on_where_it_was(tickets: Tickets, count: int, kills: int) -> None:
    """Nothing is done twice and nothing left out, because a portion commits with its checkpoint."""
    tickets.add(count)
    for kill in range(1, kills + 1):
        done = tickets.state().get("rows_done", 0)
        # However late we are, it is not at its end, nor where the next one could do no more.
        with tickets.held(count * kill // (kills + 1)), tickets.child() as child:
            until(tickets, done + 1)
            time.sleep(random.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
        tickets.alone()
    left, costs = tickets.state(), []
    with closing(tickets.steps()) as steps:
        rows, at = left["rows_done"], time.monotonic()
        for step in steps:
            if step.rows > rows:
                costs.append((time.monotonic() - at) / (step.rows - rows))
            rows, at = step.rows, time.monotonic()
    assert rows == count
    assert tickets.wrong() == 0
    assert left["state"] == "running"
    assert tickets.state()["attempts"] == kills + 1
    third = len(costs) // 3
    if kills > 3:
        assert median(costs[-third:]) < 3 * median(costs[:third]), costs


@pytest.mark.parametrize("key", [("id",), ("team", "id")])
def test_a_portion_takes_as_long_at_the_end_as_at_the_beginning(
    tickets: Tickets, key: tuple[str, ...]
) -> None:
    """It reads what it changes, and not what was changed before: so many pages, no more."""
    tickets.sql("ALTER TABLE ticket ADD team integer NOT NULL DEFAULT 1")
    tickets.sql("CREATE UNIQUE INDEX ticket_team ON ticket (team, id)")
    tickets.sql("ALTER TABLE ticket DISABLE TRIGGER touch")
    tickets.add(30_000)
    tickets.write(f"{FILL}    key = {key}\n")
    seen = []
    reads = "SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = %s"
    index = "ticket_pkey" if key == ("id",) else "ticket_team"
    limits = replace(QUICK, first=1000, largest=1000)
    with closing(tickets.steps(limits=limits)) as steps:
        for _ in steps:
            with session(tickets.url) as cursor:
                cursor.execute("SELECT pg_stat_clear_snapshot()")
                cursor.execute(reads, (index,))
                seen.append(cursor.fetchone()[0])
    ((scans,),) = tickets.sql(
        "SELECT seq_tup_read FROM pg_stat_all_tables WHERE relname = 'ticket'"
    )
    assert seen[-1] <= 10 * 30_000, seen
    assert scans <= 3 * 30_000  # ANALYZE and the verify query; none for each portion


@pytest.mark.usefixtures("each_driver")
def test_rows_of_others_are_not_overwritten(tickets: Tickets) -> None:
    """Old code goes on writing; what `process` makes of a row is made of what is there."""
    tickets.add(3000)
    tickets.write(
        """
        import time

        class Fill(Backfill):
            table = "ticket"
            where = "note IS NULL"
            columns = ("title",)
            verify = "SELECT count(*) FROM ticket WHERE note IS NULL"

            def process(self, rows):
                time.sleep(0.2)  # in which others would change these rows, if they could
                return [{"id": row["id"], "note": row["title"].upper()} for row in rows]
        """
    )
    changed, stop = list[int](), threading.Event()

    def old_code() -> None:
        with session(tickets.url) as cursor:
            while not stop.is_set():
                one = random.randint(1, 3000)
                cursor.execute(
                    "UPDATE ticket SET title = title || '+', note = CASE WHEN note IS NOT NULL "
                    "THEN upper(title) || '+' END WHERE id = %s",
                    (one,),
                )
                changed.append(one)

    writer = threading.Thread(target=old_code)
    writer.start()
    try:
        wait_until(lambda: changed)
        before = len(changed)
        tickets.run(limits=replace(QUICK, first=1000, largest=1000))
    finally:
        stop.set()
        writer.join()
    pluses = "SELECT sum(length(title) - length(replace(title, '+', ''))) FROM ticket"
    assert tickets.sql(pluses) == [(len(changed),)]
    assert len(changed) > before
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note <> upper(title)") == [(0,)]


def test_rows_that_come_later_are_for_the_new_code(tickets: Tickets) -> None:
    """Those that old code still writes are not passed over: the verify query sees them."""
    tickets.add(500)
    with closing(tickets.steps(limits=FEW)) as steps:
        next(steps)
        tickets.add(7, after=500)
        with pytest.raises(Failed, match="counts 7 rows that still need it"):
            list(steps)
    assert tickets.state()["state"] == "failed"
    with pytest.raises(Failed, match="counts 7 rows"):
        tickets.run()
    assert tickets.run(restart=True)[-1].completed
    assert tickets.wrong() == 0


def test_the_size_may_change_in_the_middle(tickets: Tickets) -> None:
    """The checkpoint is a key, and not the number of a portion."""
    tickets.add(1000)
    for size in (100, 7, 333):
        with closing(tickets.steps(limits=replace(QUICK, first=size, largest=size))) as steps:
            next(steps)
        tickets.sql("UPDATE backfill_run SET batch_size = %s", size + 1)
    tickets.run()
    assert tickets.wrong() == 0
    assert tickets.state()["rows_done"] == 1000


def test_a_checkpoint_is_a_part_of_its_portion(tickets: Tickets) -> None:
    """A portion whose checkpoint cannot be written has not been done."""
    tickets.add(1000)
    tickets.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE insufficient_privilege; END $$; CREATE TRIGGER no BEFORE UPDATE OF cursor "
        "ON backfill_run FOR EACH ROW WHEN (NEW.rows_done > 0) EXECUTE FUNCTION no()"
    )
    with pytest.raises(Failed, match="insufficient_privilege"):
        tickets.run()
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note IS NOT NULL") == [(0,)]


def test_a_row_that_is_held_is_tried_again(tickets: Tickets) -> None:
    """The portion is halved down to it; when it is free, it is done like all others."""
    tickets.add(100)
    with closing(tickets.steps(limits=replace(QUICK, patience=9))) as steps:
        with tickets.held(60):
            rows = [step.rows for step in (next(steps) for _ in range(3))]
            assert max(rows) < 60
        list(steps)
    assert tickets.wrong() == 0
    assert "set aside" not in tickets.events()


@pytest.mark.usefixtures("each_driver")
def test_a_row_that_stays_held_is_set_aside(tickets: Tickets) -> None:
    """With its key; the others are done, and the backfill is not completed."""
    tickets.add(100)
    with tickets.held(60), pytest.raises(Failed, match="counts 1 rows"):
        tickets.run(limits=replace(QUICK, patience=2))
    aside = "SELECT key, detail FROM backfill_event WHERE what = 'set aside'"
    assert tickets.sql(aside) == [(["60"], "canceling statement due to lock timeout")]
    assert tickets.run(restart=True)[-1].completed
    assert tickets.wrong() == 0


def test_a_portion_that_takes_too_long_is_halved(tickets: Tickets) -> None:
    """More than 30 rows take for ever here, and there are 3 s for a statement."""
    tickets.add(60)
    tickets.sql(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(600) FROM changed HAVING count(*) > 30; RETURN NULL; END $$; "
        "CREATE TRIGGER linger AFTER UPDATE ON ticket REFERENCING NEW TABLE AS changed "
        "FOR EACH STATEMENT EXECUTE FUNCTION linger()"
    )
    tickets.run(limits=replace(QUICK, first=60, statement=3))
    assert tickets.wrong() == 0


@pytest.mark.usefixtures("each_driver")
def test_a_row_that_is_wrong_is_set_aside_and_a_wrong_backfill_stops(tickets: Tickets) -> None:
    """Without a word of what is in it."""
    tickets.add(300)
    tickets.sql("UPDATE ticket SET title = 'secret' WHERE id = 77")
    tickets.write(FILL.replace("upper(title)", "substr(title, 7)::bigint::text"))
    with pytest.raises(Failed, match="counts 1 rows"):
        tickets.run()
    aside = "SELECT key, detail FROM backfill_event WHERE what = 'set aside'"
    ((key, detail),) = tickets.sql(aside)
    assert key == ["77"]
    assert "22P02" in detail
    assert "secret" not in str(tickets.sql("SELECT last_error FROM backfill_run")) + detail
    tickets.sql("UPDATE ticket SET note = NULL")
    tickets.write(FILL.replace("upper(title)", "title::bigint::text"))
    with pytest.raises(Failed, match="6 rows were set aside, the last one for"):
        tickets.run(restart=True, limits=replace(QUICK, aside=5))
    tickets.write(FILL.replace("upper", "no_such"))
    with pytest.raises(Failed, match="no_such"):
        tickets.run(restart=True)


def test_it_rests(tickets: Tickets) -> None:
    """As long as it works, with a share of one half."""
    tickets.add(100)
    tickets.write(FILL.replace("note = upper(title)", "note = upper(title || pg_sleep(0.005))"))
    began = time.monotonic()
    tickets.run(limits=replace(QUICK, share=0.5))
    assert time.monotonic() - began > 1.0


def test_an_empty_table_is_completed(tickets: Tickets) -> None:
    """As in a database that is new."""
    assert [step.completed for step in tickets.run()] == [True]
