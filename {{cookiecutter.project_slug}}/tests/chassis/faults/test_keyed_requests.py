# feature: http_api
"""F59: a process dies around the COMMIT of a request with an Idempotency-Key."""

import asyncio
import json
import signal
from http.client import HTTPConnection, HTTPException

import pytest

from dev.ports import free_ports
from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import eventually
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.site import Site
from tests.chassis.slices.sales.messages import SaleForm

KEEP = "acme_orders.chassis.http.kept_answers:KeptAnswers.keep"
COMMIT = "acme_orders.chassis.database.lease:Lease.commit"


def post(port: int) -> tuple[int, bytes]:
    """The same request each time."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": "one"}
    headers |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/sales", json.dumps(SaleForm.example()), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.long
@pytest.mark.fault("F59", "crash around the commit of a request with a key")
@pytest.mark.parametrize(
    ("failpoint", "effects"),
    [(f"after:{KEEP}:kill", 0), (f"before:{COMMIT}:kill", 0), (f"after:{COMMIT}:kill", 1)],
)
async def test_the_client_asks_again_and_has_one_effect_and_its_answer(
    site: Site, fleet: Fleet, failpoint: str, effects: int
) -> None:
    """Before COMMIT nothing is there, after it effect and answer are."""
    (port,) = free_ports(1)
    environment = {"HTTP_PORT": str(port)}
    member = await fleet.start(failpoint, only="api", environment=environment)
    with pytest.raises((HTTPException, OSError)):
        await asyncio.to_thread(post, port)
    await eventually(lambda: member.statuses)
    assert member.statuses == [-signal.SIGKILL]
    assert await site.count("outbox") == effects

    await fleet.start(only="api", environment=environment)
    first, again = [await asyncio.to_thread(post, port) for _ in range(2)]
    assert first == again
    assert first[0] == 202
    ((body,),) = await site.rows("SELECT body FROM outbox")
    assert json.loads(body)["sale_id"] == json.loads(first[1])["sale_id"]
