"""A message is sent by hand, and what became of it is said."""

import asyncio
from collections.abc import AsyncIterator
from subprocess import CompletedProcess
from uuid import UUID  # feature: row, rls, schema

import pytest

from acme_orders.chassis.process.service import Service

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.acceptance.test_command_line import run
from tests.chassis.conftest import Connect, consuming, count, eventually, rows, sold
from tests.chassis.integration.dead_letter_queue import archiving
from tests.chassis.slices.sales.messages import SALE_MADE
from tests.conftest import add_tenant  # feature: row, rls, schema

URGENT = "SELECT id, headers ->> 'cloudEvents:urgent' FROM dead_letters"
UNREAD = ("lines.0.size", "quantity")
WHOSE: list[str] = []
WHOSE += ["--header", f"tenant={TENANT}"]  # feature: row, rls, schema


@pytest.fixture
async def service(connect: Connect, broker_url: str) -> AsyncIterator[Service]:
    """Our own view of the same database and broker."""
    async with connect(broker_url=broker_url) as connected:
        yield connected


async def plainly(service: Service, *arguments: str, **settings: str) -> CompletedProcess[str]:
    """What the command says."""
    where = {
        "DATABASE_URL": service.settings.database_url,
        "BROKER_URL": service.settings.broker_url,
    }
    return await asyncio.to_thread(run, "send", *arguments, **{**where, **settings})


async def sent(service: Service, *arguments: str, **settings: str) -> CompletedProcess[str]:
    """The same, with what every message needs."""
    return await plainly(service, *arguments, *WHOSE, **settings)


async def test_what_was_processed_is_said(service: Service) -> None:
    """Each is about something new, whose fields can be named."""
    async with consuming(service):
        one = await sent(service, SALE_MADE, "--set", "buyer_email=ada@example.com")
        more = await sent(service, SALE_MADE, "--count", "3")
    assert (one.returncode, more.returncode) == (0, 0), one.stderr + more.stderr
    assert one.stdout.startswith(f"{SALE_MADE} ")
    assert " processed in " in one.stdout
    assert more.stdout.startswith(f"3 of 3 {SALE_MADE} processed")
    assert await count(service, "sales") == 4
    found = await rows(service, "SELECT count(*) FROM buyers WHERE email = 'ada@example.com'")
    assert found == [(1,)]


async def test_a_field_that_nobody_reads_is_told(service: Service) -> None:
    """It may be a slip of the pen; the message is sent, as one of a newer sender would be."""
    fields = [f"--set={each}=1" for each in ("lines.0.quantity", *UNREAD)]
    async with consuming(service):
        ended = await sent(service, SALE_MADE, *fields)
    assert ended.returncode == 0, ended.stderr
    told = [f"--set {each}: {SALE_MADE} has no such field; it is ignored" for each in UNREAD]
    assert ended.stderr.splitlines() == told


# feature: row, rls, schema {
async def test_the_only_tenant_need_not_be_named(service: Service) -> None:
    """Of several, one has to be: nothing is sent without, which would be a dead letter."""
    async with consuming(service):
        one = await plainly(service, SALE_MADE)
        assert one.returncode == 0, one.stderr
        await asyncio.to_thread(add_tenant, service.settings.database_url, UUID(int=0xADA))
        unclear = await plainly(service, SALE_MADE)
        named = await plainly(service, SALE_MADE, "--header", f"tenant={UUID(int=0xADA)}")
    assert (unclear.returncode, named.returncode) == (78, 0), named.stderr
    assert "there are 2 tenants: say --header tenant=ID" in unclear.stderr
    assert await rows(service, "SELECT count(*) FROM dead_letters") == [(0,)]


# feature: row, rls, schema }
async def test_a_dead_letter_is_named(service: Service) -> None:
    """With the command that shows it."""
    async with consuming(service), archiving(service):
        ended = await sent(service, SALE_MADE, "--invalid", "--header", "urgent=true")
    ((identity, urgent),) = await rows(service, URGENT)
    assert urgent == "true"
    assert ended.returncode == 1
    assert f"`dead-letters show {identity}`" in ended.stdout


async def test_whoever_waits_in_vain_is_told_where_it_is(service: Service) -> None:
    """Nobody consumes here."""
    ended = await sent(service, SALE_MADE, "--within", "0")
    assert ended.returncode == 1
    assert "messages in the queue: 1, " in ended.stderr
    assert "is the service running" in ended.stderr


async def test_whoever_waits_for_what_has_failed_is_led_to_the_log(
    connect: Connect, broker_url: str
) -> None:
    """The service runs: one waits for its next attempt."""
    async with connect(broker_url=broker_url, retry_ladder=(3600,)) as service:
        (later,) = [each.name for each in service.topology.ladder]
        await service.broker.publish(sold(), exchange="", routing_key=later)
        await eventually(lambda: service.broker.count(later))
        ended = await sent(service, SALE_MADE, "--within", "0", RETRY_LADDER="1h")
    assert "another attempt: 1; `message.failed` in the service's log says why" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["sale.mode"], {}, f"there is one for {SALE_MADE}"),
        ([SALE_MADE, "--set", "lines.7.quantity=1"], {}, "the example has no such place"),
        ([SALE_MADE, "--set", "lines"], {}, "write NAME=VALUE"),
        ([SALE_MADE, "--set", "lines.0.quantity=-1"], {}, "lines.0.quantity: "),
        ([SALE_MADE, "--set", r'lines.0.sku="\u0000"'], {}, "lines.0.sku: "),
        ([SALE_MADE, "--file", "nowhere.json"], {}, "nowhere.json cannot be read"),
        ([SALE_MADE, "--file", "x.json", "--set", "currency=EUR"], {}, "give one of them"),
        ([SALE_MADE], {"BROKER_URL": "memory://"}, "install RabbitMQ"),
        (
            [SALE_MADE],
            {
                "ENVIRONMENT": "production",
                "BROKER_URL": "amqp://ada:Xk3-9_vT@127.0.0.1:9",
                "RABBITMQ_MANAGEMENT_URL": "http://ada:Xk3-9_vT@127.0.0.1:9",
            },
            "say --yes",
        ),
    ],
)
async def test_what_cannot_be_sent_is_explained(
    service: Service, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    """Nothing is sent then."""
    ended = await sent(service, *arguments, **variables)
    assert ended.returncode == 78, ended.stdout + ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert await service.broker.count(service.topology.main.name) == 0
