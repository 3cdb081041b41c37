"""What the first look says while somebody has to do something, although the service works."""

import os
from urllib.parse import urlsplit

import pytest

from acme_orders.chassis.messaging.topology import UNCONSUMED

from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls
from tests.chassis.acceptance.test_command_line import QUEUE, run
from tests.chassis.conftest import Connect, eventually, send, sold

TENANT_COLUMN, TENANT_VALUE = "", ""
TENANT_COLUMN, TENANT_VALUE = "tenant_id, ", f"'{TENANT}', "  # feature: row, rls


def waits(url: str, type_: str, *, seconds: int, parked: str | None = None) -> None:
    """An event that was added so long ago, and of a type that is parked, if there is a reason."""
    rows_of(
        url,
        f"""INSERT INTO outbox
            ({TENANT_COLUMN}message_id, type, body, created_at, available_at)
        VALUES ({TENANT_VALUE}gen_random_uuid(), '{type_}', '{{}}',
            now() - interval '{seconds} s', '{"infinity" if parked else "now"}')""",
    )
    if parked:
        rows_of(
            url,
            f"INSERT INTO parked_types (type, reason, error) VALUES ('{type_}', '{parked}', 'no')",
        )


async def test_a_queue_that_nobody_consumes_waits(
    connect: Connect, database_url: str, broker_url: str
) -> None:
    """As the service would say of itself; `topology` says it beside the numbers."""
    async with connect(broker_url=broker_url) as service:
        await send(service, sold(), sold())

        async def counted() -> bool:
            return await service.broker.count(QUEUE) == 2

        await eventually(counted)
    servers = {"DATABASE_URL": database_url, "BROKER_URL": broker_url}
    ended = run("doctor", **servers)
    assert ended.returncode == 0, ended.stderr
    assert f"waits  queue {QUEUE}: 2 messages, 0 consumers: {UNCONSUMED}" in ended.stdout
    assert f"ok     queue {QUEUE}.suspect: 0 messages, 0 consumers\n" in ended.stdout
    assert "nobody takes them" in run("topology", COLUMNS="200", **servers).stdout


@pytest.mark.parametrize(
    ("seconds", "says"),
    # The first is young however long the command needs to start.
    [
        (-60, "ok     outbox: 1 events wait, the oldest for "),
        (50, "waits  outbox: 1 events wait, the oldest for 0:0"),
    ],
)
def test_an_event_that_nobody_publishes_waits(database_url: str, seconds: int, says: str) -> None:
    """Long before OutboxStuck, and without `--live`: a relay that is well needs a second."""
    waits(database_url, "sale.recorded", seconds=seconds)
    ended = run("doctor", DATABASE_URL=database_url, BROKER_URL="memory://")
    assert ended.returncode == 0, ended.stdout
    assert says in ended.stdout


def test_a_type_that_rabbitmq_does_not_take_waits(database_url: str) -> None:
    """However young its events are; one that nobody has to listen to may be parked for long."""
    waits(database_url, "sale.refused", seconds=1, parked="refused")
    waits(database_url, "sale.unheard", seconds=900, parked="unheard")
    ended = run("doctor", DATABASE_URL=database_url, BROKER_URL="memory://")
    assert "waits  outbox, sale.refused: 1 events are parked as refused, the oldest" in ended.stdout
    assert "ok     outbox: no event waits" in ended.stdout
    assert "unheard" not in ended.stdout


async def test_a_management_api_that_refuses_is_wrong(
    connect: Connect, database_url: str, broker_url: str
) -> None:
    """Bindings and policies that nobody sees may be whatever they are."""
    async with connect(broker_url=broker_url):
        pass  # its queues are there
    place = urlsplit(os.environ["RABBITMQ_MANAGEMENT_URL"]).netloc.rpartition("@")[2]
    ended = run(
        "doctor",
        DATABASE_URL=database_url,
        BROKER_URL=broker_url,
        RABBITMQ_MANAGEMENT_URL=f"http://nobody:secret@{place}",
    )
    assert ended.returncode == 1
    assert "wrong  bindings and policies: cannot be seen: " in ended.stdout
    assert "it answers 401" in ended.stdout
    assert "secret" not in ended.stdout + ended.stderr
