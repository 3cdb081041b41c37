"""Two runners, and somebody at another terminal."""

import re
import signal
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from acme_orders.chassis.backfills import control
from acme_orders.chassis.backfills.runs import Cancelled, LeaseLost
from acme_orders.chassis.backfills.session import (
    BackfillSession,
    backfill_session,
)
from acme_orders.chassis.database import driver
from acme_orders.chassis.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ServiceError,
)

from readiness.scratch import session
from tests.chassis.backfills.test_runs import FEW, until
from tests.chassis.backfills.tickets import FILL, Tickets


def move(tickets: Tickets, how: str) -> control.Status:
    """What somebody does at another terminal."""
    with backfill_session(tickets.url) as opened:
        return control.move(opened, "fill", how)


def test_a_second_runner_is_told_who_the_first_one_is(tickets: Tickets) -> None:
    """It changes nothing, and may begin when the first one has left."""
    tickets.add(1000)
    with closing(tickets.steps(limits=FEW)) as first:
        next(first)
        owner = tickets.state()["owner"]
        with pytest.raises(ConfigurationError, match=f"is being run by {owner} since 20"):
            tickets.run()
        with pytest.raises(ConfigurationError, match="is being run by"):
            tickets.run(restart=True)
        assert tickets.state()["owner"] == owner
    assert tickets.state()["state"] == "pending"
    tickets.run()
    assert tickets.wrong() == 0


def test_a_silent_runner_is_replaced_and_undoes_what_it_had_in_hand(tickets: Tickets) -> None:
    """Its session lives, but it gave no sign for too long; it learns that at its checkpoint."""
    tickets.add(1000)
    with closing(tickets.steps(limits=replace(FEW, look=60))) as first:
        next(first)
        tickets.sql("UPDATE backfill_run SET heartbeat_at = now() - interval '2 minutes'")
        with closing(tickets.steps(limits=FEW)) as second:
            next(second)
            with pytest.raises(LeaseLost, match="taken over"):
                list(first)
            list(second)
    assert tickets.wrong() == 0
    assert tickets.state()["rows_done"] == 1000


def test_a_runner_whose_session_has_ended_is_replaced_at_once(tickets: Tickets) -> None:
    """It says what helps, and the next one goes on."""
    tickets.add(1000)
    with closing(tickets.steps(limits=FEW)) as first:
        next(first)
        ended = "SELECT pg_terminate_backend(session) FROM backfill_run"
        assert tickets.sql(ended) == [(True,)]
        with pytest.raises(DatabaseUnavailable, match="run the same command again"):
            list(first)
    tickets.run()
    assert tickets.wrong() == 0


def test_paused_it_waits_and_resumed_it_goes_on(tickets: Tickets) -> None:
    """In another process; it keeps its lease meanwhile."""
    tickets.add(100_000)
    tickets.write(f'{FILL}    throttle = "SELECT 0"\n')
    with tickets.child() as child:
        with tickets.held(100_000):  # however late we are, it is not at its end
            until(tickets, 1)
            move(tickets, "pause")
        waits = next(line for line in child.stdout or () if "paused" in line)
        assert "`backfill resume fill`" in waits
        done = tickets.state()["rows_done"]
        next(line for line in child.stdout or () if "paused" in line)
        assert tickets.state()["rows_done"] == done < 100_000
        with pytest.raises(ConfigurationError, match="is being run by"):
            tickets.run()
        assert move(tickets, "resume").runner == tickets.state()["owner"]
        child.communicate()
    assert child.returncode == 0
    assert tickets.wrong() == 0
    assert tickets.events() == ["started", "paused", "resumed", "completed"]


def test_cancelled_it_ends_and_begins_only_anew(tickets: Tickets) -> None:
    """What it has done stays."""
    tickets.add(1000)
    with closing(tickets.steps(limits=FEW)) as steps:
        next(steps)
        move(tickets, "cancel")
        with pytest.raises(Cancelled):
            list(steps)
    assert tickets.sql("SELECT count(note) FROM ticket") == [(100,)]
    with pytest.raises(ConfigurationError, match="--restart"):
        tickets.run()
    with pytest.raises(ServiceError, match="is cancelled: one can pause what is"):
        move(tickets, "pause")
    tickets.run(restart=True)
    assert tickets.wrong() == 0


def test_interrupted_it_leaves_its_lease(tickets: Tickets) -> None:
    """As with Ctrl-C."""
    tickets.add(100_000)
    with tickets.held(100_000), tickets.child() as child:
        until(tickets, 1)
        child.send_signal(signal.SIGINT)
        child.communicate()
    assert tickets.state()["owner"] is None
    assert tickets.state()["state"] == "pending"


def test_interrupted_right_after_a_begin_it_leaves_its_lease(
    tickets: Tickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written in a transaction that nobody ends is gone with the session."""
    tickets.add(1000)
    rows = BackfillSession.rows

    def interrupted(session: BackfillSession, sql: str, parameters: Sequence[Any] = ()) -> Any:
        found = rows(session, sql, parameters)
        if sql.startswith("BEGIN") and tickets.state().get("rows_done"):
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(BackfillSession, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tickets.run(limits=FEW)
    assert tickets.state()["owner"] is None


def test_a_transaction_that_cannot_begin_says_why(tickets: Tickets) -> None:
    """And not that it was aborted, as each statement after it would."""
    with backfill_session(tickets.url) as opened:
        with (
            pytest.raises(driver.DriverError, match="division by zero"),
            opened.transaction("SELECT 1 / 0", FEW, statement=0),
        ):
            pytest.fail("it has begun")
        assert opened.rows("SELECT 1") == [(1,)]


def test_a_changed_file_does_not_go_on(tickets: Tickets) -> None:
    """Some rows would have been changed by another version."""
    tickets.add(1000)
    with closing(tickets.steps(limits=FEW)) as steps:
        next(steps)
    tickets.write(FILL.replace("upper", "lower"))
    with pytest.raises(ConfigurationError, match=r"restore the file.*--restart"):
        tickets.run()
    tickets.write(FILL)
    tickets.run()
    assert tickets.wrong() == 0


def test_it_waits_for_others_and_says_for_whom(tickets: Tickets) -> None:
    """A session that waits for the table; an old transaction; its own SQL; much WAL."""
    tickets.add(1000)
    tickets.sql("CREATE TABLE busy AS SELECT 1 AS here")
    tickets.write(f'{FILL}    throttle = "SELECT count(*) FROM busy"\n')
    limits = replace(FEW, oldest=0.5, look=0.01)
    with closing(tickets.steps(limits=limits)) as steps:
        assert next(steps).waits == "its own throttle says 1"
        assert tickets.state()["state"] == "throttled"
        with session(tickets.url) as old, session(tickets.url) as holder:
            old.execute("BEGIN; SELECT 1")
            tickets.sql("SELECT pg_sleep(0.6)")
            waits = next(steps).waits
            assert re.fullmatch(r"a transaction is \d+ s old, more than 0\.5 s", waits), waits
            holder.execute("BEGIN; LOCK TABLE ticket IN ACCESS SHARE MODE")
            waiter = threading.Thread(
                target=tickets.sql, args=("LOCK TABLE ticket; SELECT pg_sleep(0)",)
            )
            waiter.start()
            while "wait for a lock" not in (why := next(steps).waits):
                assert "transaction" in why
            holder.execute("COMMIT")
            waiter.join()
            old.execute("COMMIT")
        tickets.sql("DELETE FROM busy")
        assert not list(steps)[-1].waits
    assert tickets.wrong() == 0
    tickets.sql("UPDATE ticket SET note = NULL, touched = 0")
    with closing(tickets.steps(restart=True, limits=replace(FEW, wal=1, look=0.01))) as steps:
        next(step for step in steps if "write-ahead log" in step.waits)


def test_the_state_is_told(tickets: Tickets) -> None:
    """To whoever looks."""
    tickets.add(1000)
    with closing(tickets.steps(limits=FEW)) as steps:
        next(steps)
        with backfill_session(tickets.url) as opened:
            (status,) = control.everywhere(opened)
    assert (status.name, status.state, status.rows_done) == ("fill", "running", 100)
    assert status.runner
    assert status.rows_estimate == 1000
