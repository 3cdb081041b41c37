"""Backfills on servers of their own: a replica that is behind, and a disk that is full."""

import re
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from acme_orders.chassis.errors import DatabaseUnavailable

from dev.postgres_binaries import server_user
from dev.small_disk import NoSmallDisk, PostgresOnDisk, SmallDisk
from dev.standby import PostgresPair
from readiness.scratch import session
from tests.chassis.backfills.test_runs import FEW
from tests.chassis.backfills.tickets import FILL, QUICK, Tickets
from tests.chassis.conftest import migrate

pytestmark = pytest.mark.long


def test_it_waits_for_a_replica(tmp_path: Path) -> None:
    """One that stands still, too: PostgreSQL's own figure of the lag does not grow then."""
    with PostgresPair() as pair:
        pair.primary.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
        pair.primary.ask("SELECT pg_reload_conf()")
        url = pair.databases.create()
        migrate(url)
        tickets = Tickets(url, tmp_path)
        tickets.write(FILL.replace("upper(title)", "upper(title || pg_sleep(0.002))"))
        tickets.add(4000)
        with closing(tickets.steps(limits=replace(FEW, max_lag=0.5, look=0.1))) as steps:
            next(step for step in steps if not step.waits)
            pair.standby.ask("SELECT pg_wal_replay_pause()")
            waiting = next(step for step in steps if step.waits)
            said = r"a replica is \d+ s behind, more than 0\.5 s"
            assert re.fullmatch(said, waiting.waits), waiting.waits
            pair.standby.ask("SELECT pg_wal_replay_resume()")
            list(steps)
        assert tickets.wrong() == 0


def test_a_full_disk_stops_it_and_room_lets_it_go_on(tmp_path: Path) -> None:
    """What was committed stays; the message says what helps."""
    try:
        with SmallDisk(256, user=server_user()) as disk, PostgresOnDisk(disk) as server:
            url = server.create_database()
            migrate(url)
            tickets = Tickets(url, tmp_path)
            tickets.write(FILL.replace("upper(title)", "repeat(md5(title), 3000)"))
            tickets.add(300)
            tickets.sql("ALTER TABLE ticket ALTER note SET STORAGE EXTERNAL")
            with closing(tickets.steps(limits=replace(FEW, first=20, largest=20))) as steps:
                next(steps)
                disk.fill()
                with pytest.raises(DatabaseUnavailable, match="has room, and run the same command"):
                    list(steps)
            assert tickets.state()["rows_done"] >= 20
            disk.free()
            if not server.running:  # WAL found no room
                server.stop()
                server.start()
            tickets.run()
            assert tickets.wrong() == 300  # of another text, each touched once
            assert tickets.sql("SELECT count(*) FROM ticket WHERE touched <> 1") == [(0,)]
    except NoSmallDisk as why:
        pytest.skip(str(why))


def test_it_waits_for_a_vacuum(tickets: Tickets) -> None:
    """Which would find more and more to do."""
    tickets.sql("ALTER TABLE ticket DISABLE TRIGGER touch")
    tickets.add(100_000)
    tickets.sql("UPDATE ticket SET title = title || '+'")

    def vacuum() -> None:
        with session(tickets.url) as cursor:
            cursor.execute("SET vacuum_cost_delay = 20")
            cursor.execute("VACUUM public.ticket")

    slow = threading.Thread(target=vacuum)
    slow.start()
    seen = "SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'public.ticket'::regclass"
    while tickets.sql(seen) == [(0,)]:
        assert slow.is_alive()
    with closing(tickets.steps(limits=replace(QUICK, look=0.01))) as steps:
        assert next(steps).waits == "a vacuum cleans public.ticket"
        slow.join()
        list(steps)
    assert tickets.sql("SELECT count(*) FROM ticket WHERE note IS NULL") == [(0,)]
