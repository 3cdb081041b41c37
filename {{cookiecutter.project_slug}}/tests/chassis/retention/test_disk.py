"""The disk under PostgreSQL is full while rows are deleted."""

from contextlib import closing

import pytest

from acme_orders.chassis.errors import DatabaseUnavailable

from dev.postgres_binaries import server_user
from dev.small_disk import NoSmallDisk, PostgresOnDisk, SmallDisk
from tests.chassis.conftest import migrate
from tests.chassis.retention.papers import Papers

# Rows that only go need no room but for the WAL.
ARCHIVED = """
CREATE TABLE archive (what text);
CREATE FUNCTION archived() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO public.archive VALUES (old::text); RETURN NULL; END $$;
CREATE TRIGGER archived AFTER DELETE ON line FOR EACH ROW EXECUTE FUNCTION archived()
"""


@pytest.mark.long
def test_a_full_disk_stops_it_and_room_lets_it_go_on() -> None:
    """What was committed stays and is counted; the message says what helps."""
    try:
        with SmallDisk(256, user=server_user()) as disk, PostgresOnDisk(disk) as server:
            url = server.create_database()
            migrate(url)
            papers = Papers(url)
            papers.sql(ARCHIVED)
            papers.add(2000, days=40)
            papers.add(10, after=2000, days=1)
            with closing(papers.runner().run()) as steps:
                assert next(steps).rows == 100
                disk.fill()
                with pytest.raises(DatabaseUnavailable, match="has room, and run the same command"):
                    list(steps)
            disk.free()
            if not server.running:  # WAL found no room
                server.stop()
                server.start()
            assert papers.run().state == "ok"
            assert papers.counts() == (10, 20, 40)
            assert papers.sql("SELECT count(*) FROM archive") == [(8000,)]
            log = papers.log()
            assert {state for state, _ in log[:-1]} == {"partial"}
            assert sum(deleted.get("line", 0) for _, deleted in log) == 8000
    except NoSmallDisk as why:
        pytest.skip(str(why))
