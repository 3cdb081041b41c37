"""The disk under PostgreSQL is full while somebody is erased."""

import asyncio

import pytest

from acme_orders.chassis.errors import DatabaseUnavailable

from dev.postgres_binaries import server_user
from dev.small_disk import NoSmallDisk, PostgresOnDisk, SmallDisk
from readiness.scratch import rows_of
from tests.chassis.conftest import Connect, migrate
from tests.chassis.erasure.people import NAME, WHOSE, People

PLACE = "SELECT schemaname::text FROM pg_tables WHERE tablename = 'journal'"
MANY = """
INSERT INTO {0}.journal SELECT (jsonb_populate_record(
    NULL::{0}.journal, to_jsonb(one) || jsonb_build_object('id', gen_random_uuid()))).*
FROM {0}.journal AS one, generate_series(1, 20000)
"""


@pytest.mark.long
async def test_a_full_disk_stops_it_and_room_lets_it_go_on(connect: Connect) -> None:
    """What was committed stays; the message says what helps."""
    try:
        with SmallDisk(256, user=server_user()) as disk, PostgresOnDisk(disk) as server:
            url = server.create_database()
            await asyncio.to_thread(migrate, url)
            async with connect(database_url=url) as service:
                people = People(service)
                people.known(NAME)
                people.scatter(NAME)
                ((place,),) = rows_of(url, PLACE)
                rows_of(url, MANY.format(place))
                with people.eraser.requests(WHOSE) as requests:
                    identity = requests.receive(NAME, actor="test", days=30)
                request = people.eraser.named(identity)
                await asyncio.to_thread(disk.fill)
                with pytest.raises(DatabaseUnavailable, match="has room, and run the same command"):
                    people.eraser.carry_out(request)
                await asyncio.to_thread(disk.free)
                if not server.running:  # WAL found no room
                    server.stop()
                    server.start()
                assert people.eraser.carry_out(people.eraser.named(identity)).state == "verified"
                assert people.done(identity) == 1 + 7 + 20_000
                assert "hara" not in "".join(people.dump()).lower()
    except NoSmallDisk as why:
        pytest.skip(str(why))
